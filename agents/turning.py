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
    """Trains until an agent has taken `steps` in all, or until it is to stop."""

    def __call__(self, state: TrainState, *, steps: int) -> TrainState:
        """The state it comes to."""


class Turning:
    """The turns of the agent with this shard (docs/theory.md 26). turns: local steps of each; 0: there are none."""

    def __init__(self, turns: int, submodel: str, shard: Shard) -> None:
        self._every, self._shard, self._count = turns, shard.index, subnetwork_count(submodel)

    def first(self, saved: Mapping[str, Any]) -> dict[str, int]:
        """The field of its record for the subnetwork that it begins with. saved: the facts of what it resumes from."""
        return {"part": int(saved.get("part", self._shard % self._count))} if self._every else {}

    def train(self, state: TrainState, peer: Peer, steps: int, run: Run, learner: Learner) -> TrainState:
        """Train until `steps` are taken in all, and change the subnetwork where a turn ends, unless this agent stays.

        The optimizer's state stays with the agent.
        """
        for end in self.ends(peer.step, steps):
            state = run(state, steps=end)
            if peer.step < end:
                break
            before, part = peer.part, self.part(end) if end < steps else peer.part
            if part == before or peer.waited_s:
                continue
            state = state._replace(params=learner.params_of(peer.turn(learner.shared(state), part)))
            if peer.part == part:
                log.info("step %d: now trains subnetwork %d", end, part)
            else:
                why = f"no vector of subnetwork {part} was available, or no other agent stays with {before}"
                log.info("step %d: still trains subnetwork %d: %s", end, before, why)
        return state

    def ends(self, step: int, steps: int) -> list[int]:
        """The steps after `step` at which turns end, and the last of all `steps`."""
        every = self._every
        return [*(range((step // every + 1) * every, steps, every) if every else ()), steps]

    def part(self, step: int) -> int:
        """Which subnetwork it is to train from this step on."""
        return int(part_in_turn(self._shard, step // self._every, self._count))
