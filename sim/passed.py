"""What agents pass to one another in an exact replay, and to later incarnations of themselves."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.mixing.codecs import Codec
from agents.mixing.replica import Answered
from agents.recorder import Recording
from agents.submodel import parse
from agents.values import Shard
from sim.learners import Trained, agents_learner
from sim.recordings import AgentRecordings

Vector = NDArray[np.float32]
Key = tuple[str, int, int, int]
"""An agent, its incarnation, the number of one of its exchanges or pulls, and a chunk."""


class Saved(NamedTuple):
    """What a checkpoint held: theta (P,), leaves of the optimizer's state, what the codec has learned, steps taken.

    part: which subnetwork it is, where agents go from one to the next.
    """

    theta: Vector
    optimizer: list[Any]
    learned: Vector
    step: int
    part: int


class Between:
    """Offers, differences and pieces not taken in yet, and the learners: agents with the same settings share one."""

    def __init__(self) -> None:
        self.offers: dict[Key, tuple[Codec, Any]] = {}
        self.differences: dict[Key, tuple[Codec, Answered]] = {}
        self.pieces: dict[Key, Vector] = {}
        self.learners: dict[Any, Trained] = {}

    def trained(self, recorded: AgentRecordings, recording: Recording) -> Trained:
        """What an agent trained in one of its incarnations."""
        (learning, gossiping), facts = recorded.settings_in(recording), recording.facts
        shard, submodel = Shard(facts["index"], recorded.placing.shard.shards), parse(gossiping.submodel)
        key = (
            *(learning.task, learning.data, learning.batch_size, learning.width, learning.optimizer),
            *(learning.learning_rate, learning.seed, facts["steps"], gossiping.rule, gossiping.every.steps),
            *(gossiping.private, gossiping.submodel, submodel.part(shard) if submodel else 0, gossiping.capacity),
        )
        if key not in self.learners:
            self.learners[key] = agents_learner(learning, gossiping, shard, facts["steps"])
        return self.learners[key]
