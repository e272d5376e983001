"""What an agent writes while it runs: its checkpoint and its metrics."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agents.checkpoint import Checkpoint
from agents.finite import DIVERGED
from agents.learning import leaves
from agents.learning.learner import Learner
from agents.learning.step import TrainState
from agents.mixing.blocks import OWN, Blocks, named_in, trained_by
from agents.observe.card import CONSENSUS, Consensus, privacy_of
from agents.peer import Peer
from agents.privacy_ledger import PrivacyLedger
from agents.recorder import DROP, SAVE, Recorder
from agents.sinks.feed import Feeds
from agents.store import MEASURE_S, Folder
from agents.submodel import part_of, subnetwork_count
from agents.trainer import Progress
from agents.values import SettingsError, Shard
from agents.view import View
from topology.errors import GossamerError
from transport.messages import Member

log = logging.getLogger("gossamer")

MOST_ADDRESSES = 32
"""Of others, in a checkpoint: where to look for the swarm when this agent starts again."""

AGAIN_S = 5.0
"""Between two attempts to write what an agent has ended with and its disk has refused."""

MODEL = "the consensus model"


class NotWritten(GossamerError, OSError):
    """An agent has finished, and its disk doesn't take the model that it ended with. One line: what to do."""

    code = "G411"


class Bookkeeping:
    """Writes an agent's metrics and checkpoints to its folder.

    recorder: None if nothing is recorded. facts: what a checkpoint holds besides the agent's state. every_s: between
    two checkpoints while training. ledger: of the privacy budget, None if there is none. feeds: where metrics go beside
    the folder.
    """

    def __init__(
        self,
        folder: Folder,
        recorder: Recorder | None,
        learner: Learner,
        facts: dict[str, Any],
        every_s: float,
        ledger: PrivacyLedger | None = None,
        feeds: Feeds | None = None,
    ) -> None:
        self._feeds = feeds or Feeds()
        self._folder, self._recorder, self._learner, self._facts = folder, recorder, learner, facts
        self._every_s, self._ledger = every_s, ledger
        self._blocks = Blocks.whole(learner.size) if "capacity" in facts else Blocks.of_settings(facts, learner.size)
        self._accounted_s = -math.inf
        self._saved_s = time.monotonic()
        self._saves = 0
        self._diverged = False
        self.scores: dict[str, Any] = {}
        """What evaluations have shown, for checkpoints."""
        self._refused: dict[str, Callable[[], bool]] = {}
        """What the agent ended with and its disk has not taken yet: how to write it."""
        self._tried_s = -math.inf
        self._holders = 0
        """How many agents hold the model that it ended with."""

    def after_steps(self, peer: Peer, state: TrainState, progress: Progress) -> None:
        """A line of metrics, what is spent of the budget, and a checkpoint if it is time for one."""
        if self._ledger is not None and time.monotonic() - self._accounted_s >= MEASURE_S:
            self._accounted_s = time.monotonic()
            peer.report(**self._ledger.record())
        if self._ledger is None:  # A private model may be handed on: what losses give away is in no budget.
            self._facts["loss"] = progress.finite_loss
        if progress.finite_loss is None and not self._diverged:
            self._diverged = True
            log.warning("step %d: %s", progress.step, DIVERGED)
        self.measure(progress, peer.view(), distance=peer.consensus_distance)
        if time.monotonic() - self._saved_s > self._every_s:
            self.save(peer, state)

    def save_best(self, peer: Peer, state: TrainState) -> None:
        """Write a checkpoint, and keep it as the best one, beside the last few."""
        if self.save(peer, state):
            self._folder.keep_best()

    def end(self, peer: Peer, state: TrainState) -> None:
        """Write what an agent that has finished leaves: a checkpoint, and the consensus model if it holds that."""
        self._write("the checkpoint", lambda: self.save(peer, state))
        self.consensus(peer, state)

    def again(self) -> None:
        """Write what the disk has refused of that, if it takes it by now."""
        if self._refused and time.monotonic() - self._tried_s >= AGAIN_S:
            for what, write in list(self._refused.items()):
                self._write(what, write)

    def check(self) -> None:
        """Raise NotWritten if the disk has refused something of that to the end."""
        self._tried_s = -math.inf
        self.again()
        if self._refused:
            what, where = " and ".join(self._refused), ""
            if not any(refused.startswith(MODEL) for refused in self._refused) and self._holders:
                where = f"; the model that it ended with is {self._folder.path / CONSENSUS}"
            elif self._holders > 1:
                where = f"; {CONSENSUS} in the folder of another agent that has finished is the same model"
            raise NotWritten(
                f"this agent has finished, and {what} could not be written to {self._folder.path}: "
                f"make room there. The same command goes on from the last checkpoint{where}"
            )

    def _write(self, what: str, write: Callable[[], bool]) -> None:
        self._tried_s = time.monotonic()
        if write():
            self._refused.pop(what, None)
        else:
            self._refused[what] = write

    def save(self, peer: Peer, state: TrainState) -> bool:
        """Write a checkpoint: what resuming needs, and a consensus once the agent has ended; False if it can't be.

        It is recorded first: an agent that is killed in between resumes from the checkpoint before, which the
        recording has too.
        """
        self._saved_s = time.monotonic()
        self._saves += 1
        view = peer.view()
        stand = {
            "run": view.run,
            "members": sorted({member.agent for member in (view.me, *view.others, *view.gone)}),
            "addresses": [member.address for member in (*view.others, *view.gone) if member.address][:MOST_ADDRESSES],
            "weight": _weight(view),
            "step": peer.step,
            "round": peer.round,
            "save": self._saves,
            **view.carried,
        }
        if peer.part >= 0:
            stand["part"] = peer.part
        if self._ledger is not None:
            stand["privacy"] = self._ledger.facts()
        if self.scores:
            stand["evaluation"] = self.scores
        theta = np.asarray(self._learner.flatten(state.params))
        learned = peer.learned(partial(self._note, SAVE, peer.step))
        if self._recorder is not None:
            self._recorder.flush()
        optimizer = leaves.to_arrays(state.opt_state)
        saved = self._folder.save(Checkpoint(theta, optimizer, self._facts | stand, self._parameters, learned))
        if not saved:
            self._note(DROP, peer.step)
        return saved

    def _note(self, op: int, step: int) -> None:
        if self._recorder is not None:
            self._recorder.note(op, self._saves, number=step)

    def consensus(self, peer: Peer, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Write the consensus model, if the exact finish has left it with us. metrics: of it, on the test data."""
        view = peer.view()
        if not view.exact:
            return
        self._holders = len(view.exact)
        members = {member.agent: member for member in (view.me, *view.others, *view.gone)}
        shards = {str(agent): _shard(members[agent]) for agent in sorted(view.exact) if agent in members}
        card = Consensus(
            view.run,
            view.me.report.task,
            agents=sorted(view.exact),
            steps={agent: members[agent].report.step for agent in view.exact if agent in members},
            distance=math.nan,
            metrics=metrics or {},
            privacy=privacy_of(members[agent] for agent in view.exact if agent in members),
            own=named_in(self._blocks, OWN, self._parameters),
            trained_by=trained_by(self._blocks, self._parameters, shards),
            parameters=self._learner.size,
            model=self._learner.spec_hash,
            submodel=str(self._facts["submodel"]),
            width=float(self._facts["width"]),
            assembled=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
        if subnetwork_count(card.submodel) > 1:
            part = part_of(card.submodel, str(self._facts["shard"]), peer.part)
            card.subnetworks = {} if part is None else dict.fromkeys(card.agents, part)
        card.summarize()
        facts = {"agent": view.me.agent, "weight": _weight(view), "step": peer.step, "members": sorted(members)}
        names = ("shard", "submodel", "width", "capacity", "of_model", "of_size")
        facts |= {name: self._facts[name] for name in names if name in self._facts} | self._blocks.settings
        facts |= {"part": peer.part} if peer.part >= 0 else {}
        theta = np.asarray(self._learner.flatten(state.params))
        what = MODEL + (" with its metrics" if metrics and MODEL not in self._refused else "")
        self._write(what, lambda: self._folder.consensus(theta, self._parameters, card, **facts))

    @property
    def _parameters(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(parameter.name, parameter.shape) for parameter in self._learner.spec]

    def measure(
        self, progress: Progress, view: View, metrics: dict[str, float] | None = None, distance: float | None = None
    ) -> None:
        """A line of metrics, also for who else is given them: of private training without its loss.

        metrics: of an evaluation, by "test_" or "validation_" and the name of each. distance: the swarm's, as it is
        estimated here.
        """
        report = view.me.report
        line: dict[str, Any] = {
            "step": progress.step,
            "loss": progress.finite_loss,
            "exchanges": report.exchanges,
            "skipped": view.skipped,
            "bytes_sent": report.bytes_sent,
            "bytes_by_codec": dict(view.bytes_by_codec),
            "distance": report.distance,
            "consensus_distance": distance,
            "lost": report.lost,
            "members": 1 + len(view.others),
        }
        line |= metrics or {}
        if self._folder.measure(line, always=metrics is not None):
            self._feeds.put(line if self._ledger is None else line | {"loss": None})


def _weight(view: View) -> float:
    """What our vector weighs beside others, in full: a folder gives all of it to a mean."""
    return view.weighs[0] if len(view.weighs) == 1 else view.me.report.weight


def _shard(member: Member) -> int:
    """The number of a member's shard, 0 of what is none."""
    try:
        return Shard.parse(member.report.shard).index
    except SettingsError:
        return 0
