"""Reads what the agents of a real run recorded: the operations on their vectors, and the settings they ran with."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.config import from_toml, read_toml
from agents.mixing.capacities import NESTED
from agents.mixing.codecs import FLOAT32
from agents.recorder import FILE, PUBLISH, SAVE, TRAIN, Recording, read_recordings
from agents.settings import Gossiping, Learning, Placing, Securing
from agents.submodel import WIDTH, parse
from topology.errors import GossamerError

Ints = NDArray[np.integer[Any]]


class ReplayError(GossamerError, ValueError):
    """A run can't be replayed. One line: what was expected and what came."""

    code = "G407"


class AgentRecordings(NamedTuple):
    """What one agent left: its last settings, and a recording of each of its incarnations, in their order."""

    agent: str
    learning: Learning
    gossiping: Gossiping
    placing: Placing
    incarnations: list[Recording]

    @property
    def facts(self) -> dict[str, Any]:
        """What the first incarnation recorded of itself."""
        return self.incarnations[0].facts

    def settings_in(self, recording: Recording) -> tuple[Learning, Gossiping]:
        """What one of its incarnations ran with; where the task and its data lie is as the last one had it."""
        if "settings" not in recording.facts:  # Of a version that recorded none.
            return self.learning, self.gossiping
        learning, gossiping = from_toml(recording.facts["settings"], Learning, Gossiping)
        return replace(learning, task=self.learning.task, data=self.learning.data), gossiping

    @property
    def went_back(self) -> bool:
        """Whether an incarnation began elsewhere than where the one before it ended: what that did since is undone."""
        return any(resumed_from(now) != _ended_at(before) for before, now in pairwise(self.incarnations))


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


def are_alike(found: list[AgentRecordings]) -> bool:
    """Whether one learner and one optimizer's state for each agent do for a replay, with exact differences."""
    ran = [(*each.settings_in(one), one.facts["steps"]) for each in found for one in each.incarnations]
    learners = {(how.optimizer, how.learning_rate, how.batch_size, steps) for how, _, steps in ran}
    in_full = all(gossiping.codec == FLOAT32.name for _, gossiping, _ in ran)
    return len(learners) == 1 and in_full and not any(each.went_back for each in found)


def capacities(found: list[AgentRecordings]) -> tuple[float, ...]:
    """How much of the hidden units each agent held."""
    return tuple(recorded.gossiping.capacity.of(1)[0] for recorded in found)


NEVER_SAVED = -1, -1


def resumed_from(recording: Recording) -> tuple[int, int] | None:
    """Which checkpoint an incarnation went on from: of which incarnation, and which of its own; None if from none."""
    if not recording.facts["step"] and not any(recording.facts.get("resumed", ())):
        return None
    incarnation, save = recording.facts.get("resumed", (0, 0))
    return int(incarnation), int(save)


def _ended_at(recording: Recording) -> tuple[int, int] | None:
    """The checkpoint with all that an incarnation did, or NEVER_SAVED; where it began if it did nothing."""
    done, saves = (np.flatnonzero(np.isin(recording.records["op"], ops)) for ops in ((TRAIN, PUBLISH), (SAVE,)))
    if not len(done):
        return resumed_from(recording)
    if not len(saves) or saves[-1] < done[-1]:
        return NEVER_SAVED
    return int(recording.facts["incarnation"]), int(recording.records[saves[-1]]["chunk"])


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
