"""Turns of independent subnetworks: who trains a model at a step where agents go to the next one (docs/theory.md 26).

A model keeps its number, and so its subnetwork and whom it mixes with; who comes to train it takes it over from who
leaves. Shards, weights and optimizers' states stay with the agents.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.learning.rule_names import OF_ONE_MODEL, parse_rule
from agents.submodel import part_in_turn, subnetwork_count
from sim.checks import SimulationError, shown, whole
from sim.sources.own import protocol_name
from sim.tape import TRAIN, Tape

if TYPE_CHECKING:
    from agents.learning.rules import Rule

Floats = NDArray[np.float64]

EXCLUDED = ("virtual", "private", "online", "speeds", "clock", "delay", "joins", "split")
"""Settings that turns don't go with: agents go on together, and take over all that there is of a model."""


def held_by(model: Any, turn: Any, count: int) -> Any:
    """The agent that trains a model in this turn: numbers, or arrays of them. count: of subnetworks.

    Agent i begins with model i. The first `count` agents stay; each further one trains, of the `count` models with its
    own among them, that of subnetwork `part_in_turn`, of which this is the inverse.
    """
    return model - model % count + part_in_turn(model, -turn, count)


class Turns(NamedTuple):
    """When agents go to the next subnetwork. every: local steps; local_steps: of one round, which divide them.

    parts: how many subnetworks there are.
    """

    every: int
    local_steps: int
    parts: int

    def of_step(self, step: Any) -> Any:
        """The turn in which a local step of this number is taken, or steps are."""
        return step // self.every

    def at(self, time: Floats) -> NDArray[np.int32]:
        """The turn at each time in rounds, (K,): a round's steps are of one turn."""
        turn: NDArray[np.int32] = self.of_step(np.floor(time).astype(np.int32) * np.int32(self.local_steps))
        return turn

    def until(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """The rounds from begin to end, cut wherever a turn ends.

        An agent's optimizer goes on from one model to the next, which no version of a tape orders: a tape ends there.
        """
        a_turn = self.every // self.local_steps
        cuts = np.arange(begin // a_turn + 1, np.ceil(end / a_turn)) * a_turn
        return pairwise([begin, *cuts.tolist(), end])

    def passed_on(self, tape: Tape) -> Tape:
        """The tape with the agent that trains each model at each step."""
        holder = held_by(tape.agent, self.of_step(tape.step), self.parts)
        return replace(tape, agent=np.where(tape.kind == TRAIN, holder, tape.agent).astype(tape.agent.dtype))


def turns_of(turns: int | None, local_steps: int, submodel: str) -> Turns | None:
    """When agents go to other subnetworks, by these settings; None where each keeps its own."""
    return None if turns is None else Turns(turns, local_steps, subnetwork_count(submodel))


def check_turns(settings: Mapping[str, Any], usual: Mapping[str, Any]) -> int | None:
    """The setting `turns` as Python's int. Raises SimulationError unless such a run can be simulated with it.

    settings: all of them by name, the others checked before; usual: what they are by default.
    """
    turns, local_steps, submodel, agents = (settings[name] for name in ("turns", "local_steps", "submodel", "agents"))
    if turns is None:
        return None
    expected = f"turns is a number of local steps, a multiple of local_steps={local_steps}"
    found, count = whole(turns, expected, 1), subnetwork_count(submodel)
    if not local_steps or found % local_steps:
        raise SimulationError(f"{expected}: got {found}")
    if count == 1 or agents % count or agents == count:
        raise SimulationError(
            f"turns are of submodel 'width:K', with as many agents for each subnetwork, two or more: got submodel "
            f"{submodel!r} with {agents} agents"
        )
    if settings["protocol"] != "exchange":
        raise SimulationError(
            f"turns are for protocol 'exchange': got protocol {protocol_name(settings['protocol'])!r}"
        )
    for name in EXCLUDED:
        if not np.array_equal(settings[name], usual[name]):
            got = shown(settings[name])
            raise SimulationError(
                f"simulated turns need agents that take their steps together and exchange all parameters: leave out "
                f"{name}={got}"
            )
    rule = settings["rule"]
    if isinstance(rule, str) and parse_rule(rule):
        raise SimulationError(f"{OF_ONE_MODEL}: got rule {rule!r}")
    return found


def check_passed_on(turns: int | None, rule: "Rule") -> None:
    """Raises SimulationError unless what the rule keeps may stay with agents that go to other subnetworks."""
    if turns is not None and rule.is_of_one_model:
        raise SimulationError(f"{OF_ONE_MODEL}: got rule {rule.name!r}")
