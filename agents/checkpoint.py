"""What an agent leaves on disk: its vector, its optimizer's state and where it stood, in one safetensors file.

Written beside the old file, flushed, and moved over it, so a crash leaves the old one or the new one, never half.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from topology.errors import GossamerError

Vector = np.ndarray[Any, np.dtype[np.float32]]

FILE = "checkpoint.safetensors"


class CheckpointError(GossamerError, ValueError):
    """A checkpoint is missing, damaged, or of another model. One line: what was expected, what came, what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """theta: (P,). optimizer: the leaves of the optimizer's state, in tree order. facts: step, round, model, ..."""

    theta: Vector
    optimizer: list[np.ndarray[Any, Any]]
    facts: dict[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically."""
    arrays = {"theta": checkpoint.theta}
    arrays |= {f"optimizer/{index}": leaf for index, leaf in enumerate(checkpoint.optimizer)}
    write_safetensors(path, arrays, {"gossamer": json.dumps(checkpoint.facts)})


def write_safetensors(path: Path, arrays: dict[str, np.ndarray[Any, Any]], metadata: dict[str, str]) -> None:
    """Write arrays atomically: to a file beside it that then takes its name."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, fresh, metadata)
    with open(fresh, "rb+") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {})["gossamer"])
            count = sum(name.startswith("optimizer/") for name in file.keys())  # noqa: SIM118 - no mapping
            optimizer = [file.get_tensor(f"optimizer/{index}") for index in range(count)]
            return Checkpoint(file.get_tensor("theta"), optimizer, facts)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint of an agent ({error}); remove it to start anew") from None


class Run(NamedTuple):
    """A finished run. agents: ids, sorted. theta: (agents, P). steps: (agents,). facts: of each agent."""

    agents: list[str]
    theta: Vector
    steps: np.ndarray[Any, np.dtype[np.int64]]
    facts: list[dict[str, Any]]


def load_run(run_dir: str | Path) -> Run:
    """Every agent's last vector in the folder of one run, by sorted id. Raises CheckpointError if there is none."""
    root = Path(run_dir)
    paths = sorted({*root.glob(f"agents/*/{FILE}"), *root.glob(FILE)})
    found = sorted((load(path) for path in paths), key=lambda checkpoint: checkpoint.facts["agent"])
    if not found:
        raise CheckpointError(f"no agent left a checkpoint under {root}: expected {root}/agents/*/{FILE}")
    return Run(
        [checkpoint.facts["agent"] for checkpoint in found],
        np.stack([checkpoint.theta for checkpoint in found]),
        np.array([checkpoint.facts["step"] for checkpoint in found]),
        [checkpoint.facts for checkpoint in found],
    )
