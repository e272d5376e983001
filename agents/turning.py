"""When an agent goes to which subnetwork, where agents go from one to the next while they train (`--turns`)."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from agents.learning.learner import Learner
from agents.learning.step import TrainState
from agents.peer import Peer
from agents.submodel import part_in_turn, subnetwork_count
from agents.values import Shard

log = logging.getLogger("gossamer")


class Run(Protocol):
    """Trains until an agent has taken `steps` in all, or less far where it is to stop."""

    def __call__(self, state: TrainState, *, steps: int) -> TrainState:
        """The state it comes to."""


class Turning:
    """The turns of the agent with this shard (docs/theory.md 26). turns: local steps of each; 0 where there is one."""

    def __init__(self, turns: int, submodel: str, shard: Shard) -> None:
        self._every, self._shard, self._count = turns, shard.index, subnetwork_count(submodel)

    def first(self, saved: Mapping[str, Any]) -> dict[str, int]:
        """The field of its record for the subnetwork that it begins with. saved: the facts of what it resumes from."""
        return {"part": int(saved.get("part", self._shard % self._count))} if self._every else {}

    def train(self, state: TrainState, peer: Peer, steps: int, run: Run, learner: Learner) -> TrainState:
        """Train to this step, and go to the next subnetwork wherever a turn ends, where this agent moves on and can.

        The optimizer's state stays with the agent.
        """
        for end in self.ends(peer.step, steps):
            state = run(state, steps=end)
            if peer.step < end:
                break
            part = self.part(end) if end < steps and not peer.waited_s else peer.part
            if part != peer.part:
                params = learner.params_of(peer.turn(learner.shared(state), part))
                state = state._replace(params=params)
                went = "now trains" if peer.part == part else "stays with its own, as it can't go to"
                log.info("step %d: %s subnetwork %d", end, went, part)
        return state

    def ends(self, step: int, steps: int) -> list[int]:
        """The steps after `step` at which turns end, and the last of all `steps`."""
        every = self._every
        return [*(range((step // every + 1) * every, steps, every) if every else ()), steps]

    def part(self, step: int) -> int:
        """Which subnetwork it is to train from this step on."""
        return int(part_in_turn(self._shard, step // self._every, self._count))
