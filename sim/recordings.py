"""Reads what the agents of a real run recorded: the operations on their vectors, and the settings they ran with."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.config import from_toml, read_toml
from agents.mixing.capacities import NESTED
from agents.recorder import FILE, Recording, read_recordings
from agents.settings import Gossiping, Learning, Placing, Securing
from agents.submodel import WIDTH, parse
from topology.errors import GossamerError

Ints = NDArray[np.integer[Any]]


class ReplayError(GossamerError, ValueError):
    """A run can't be replayed. One line: what was expected and what came."""

    code = "G407"


class AgentRecordings(NamedTuple):
    """What one agent left: its settings, and a recording of each of its incarnations, in their order."""

    agent: str
    learning: Learning
    gossiping: Gossiping
    placing: Placing
    incarnations: list[Recording]

    @property
    def facts(self) -> dict[str, Any]:
        """What the first incarnation recorded of itself."""
        return self.incarnations[0].facts


def recordings(run_dir: str | Path) -> list[AgentRecordings]:
    """What the agents left in the folder of a run, or one in its own, by name. Raises ReplayError, RecordingError."""
    root = Path(run_dir)
    found = []
    for path in sorted({*root.glob(f"agents/*/{FILE}"), *root.glob(FILE)}):
        incarnations = read_recordings(path)
        if incarnations:
            settings = from_toml(path.with_name("config.toml"), Learning, Gossiping, Placing, Securing)[:3]
            found.append(AgentRecordings(incarnations[0].facts["agent"], *settings, incarnations))
    if not found:
        configs = {*root.glob("agents/*/config.toml"), *root.glob("config.toml")}
        if private := {name for path in configs for name in ("dp", "mask") if read_toml(path).get(name)}:
            raise ReplayError(
                f"{root} was trained with --{min(private)}, which draws from no seed and is recorded nowhere: such a "
                "run can't be replayed"
            )
        raise ReplayError(f"no agent left a recording under {root}: expected {root}/agents/*/{FILE}")
    return sorted(found, key=lambda recorded: recorded.agent)


def parts_of(submodel: str, shards: Ints) -> Ints:
    """Which part of the model each agent trains, by the number of its shard; 0 where it isn't divided by shards."""
    shared_out = parse(submodel)
    return shards % (shared_out.parts if shared_out else 1)


def check_complete(gossiping: Gossiping, found: list[AgentRecordings], parts: Ints) -> None:
    """Raise ReplayError if there is a part of the model that none of these agents held. parts: what each did."""
    shared_out, held = parse(gossiping.submodel), set(parts.tolist())
    if gossiping.submodel == NESTED and max(capacities(found)) < 1:
        raise ReplayError("no agent of --capacity 1 left a recording: nobody here held the whole model")
    if shared_out and len(held) < shared_out.parts:
        gone = sorted(set(range(shared_out.parts)) - held)
        what = "subnetwork" if shared_out.kind == WIDTH else "block"
        raise ReplayError(f"no agent of {what} {', '.join(map(str, gone))} of {shared_out.parts} left a recording")


def capacities(found: list[AgentRecordings]) -> tuple[float, ...]:
    """How much of the hidden units each agent held."""
    return tuple(recorded.gossiping.capacity.of(1)[0] for recorded in found)


def resumed_from(recording: Recording) -> tuple[int, int] | None:
    """Which checkpoint an incarnation went on from: of which incarnation, and which of its own; None if from none."""
    if not recording.facts["step"] and not any(recording.facts.get("resumed", ())):
        return None
    incarnation, save = recording.facts.get("resumed", (0, 0))
    return int(incarnation), int(save)


def lacking(agent: str, recording: Recording) -> str:
    """The line for an incarnation that went on from a checkpoint which no recording has."""
    step = recording.facts["step"]
    return f"{agent} is replayed up to where it went on at step {step}: what led to that checkpoint was not recorded"


def missing(found: list[AgentRecordings]) -> list[str]:
    """A line for each agent that others have exchanged with and that left no recording, or one that ends early."""
    known = {recorded.agent for recorded in found}
    met = {peer.agent for recorded in found for recording in recorded.incarnations for peer in recording.peers}
    gone = sorted(met - known - {""})
    notes = [f"{agent} left no recording: what others took from it can't be replayed" for agent in gone]
    for recorded in found:
        ends = [recording.ended for recording in recorded.incarnations if recording.ended]
        notes += [f"{recorded.agent}'s recording ends before its run did: {why}" for why in ends[:1]]
    return notes
