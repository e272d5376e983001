"""Where a running swarm is reached: at addresses that were given, or at those of the agents in a run's folder."""

import json
import os
from pathlib import Path

from agents.values import SettingsError


def addresses(folder: Path | None, join: tuple[str, ...], command: str) -> tuple[str, ...]:
    """The addresses at which a swarm is reached: `join`, or those of the agents that run in this folder.

    command: as it is shown in an error. Raises SettingsError where neither or both are given, or none runs there.
    """
    if (folder is None) == (not join):
        raise SettingsError(
            f"`{command}` looks at a running swarm: give the address of one of its agents (--join ADDRESS), or the "
            f"folder of a run on this machine: got {'both' if join else 'neither'}"
        )
    if folder is None:
        return join
    found = tuple(addresses_in(folder))
    if not found:
        raise SettingsError(_nobody_in(folder))
    return found


def addresses_in(folder: Path) -> list[str]:
    """Of the agents of a run's folder, or of the one whose folder it is, that listen now."""
    found = []
    for each in (folder, *sorted(path.parent for path in folder.glob("agents/*/agent.json"))):
        try:
            address = str(json.loads((each / "agent.json").read_text())["address"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # It is being written, or its agent has gone.
        if runs(each):
            found.append(address)
    return found


def runs(folder: Path) -> bool:
    """Whether the process that wrote it is still there, on this machine."""
    try:
        os.kill(int(json.loads((folder / "agent.json").read_text())["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return False
    return True


def _nobody_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder {folder}: expected that of a run, as `agent launch` and `agent run` print it"
    ended = (folder / "report.json").exists() or any(folder.glob("agents/*/consensus.safetensors"))
    if ended:
        return f"the run in {folder} has ended: `agent dashboard {folder}` shows what its agents have written"
    return f"no agent of {folder} runs on this machine now: wait until one has started, or give --join ADDRESS"
