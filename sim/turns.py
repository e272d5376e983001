"""Turns of independent subnetworks: who trains a model at a step where agents pass theirs on (docs/theory.md 26).

A model keeps its number, and so its subnetwork and whom it mixes with; it goes from agent to agent, whose shards,
weights and optimizers' states stay where they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.learning.rule_names import parse_rule
from agents.submodel import subnetwork_count
from sim.checks import SimulationError, shown, whole
from sim.sources.own import protocol_name
from sim.tape import TRAIN, Tape

if TYPE_CHECKING:
    from agents.learning.rules import Rule

Floats = NDArray[np.float64]

EXCLUDED = ("virtual", "private", "online", "speeds", "clock", "delay", "joins", "split")
"""Settings that turns don't go with: agents pass their models on together, and all that there is of them."""


def held_by(model: Any, turn: Any, agents: int) -> Any:
    """The agent that trains a model in this turn: numbers, or arrays of them.

    Agent i begins with model i and takes that of agent i + 1 at each turn, the last one that of the first: of
    subnetwork (i + turn) mod K, where K divides the number of agents.
    """
    return (model - turn) % agents


class Turns(NamedTuple):
    """When models are passed on. every: local steps; local_steps: of one round, which divide them."""

    every: int
    local_steps: int

    def of_step(self, step: Any) -> Any:
        """The turn in which a local step of this number is taken, or steps are."""
        return step // self.every

    def at(self, time: Floats) -> NDArray[np.int32]:
        """The turn at each time in rounds, (K,): a round's steps are of one turn."""
        turn: NDArray[np.int32] = self.of_step(np.floor(time).astype(np.int32) * np.int32(self.local_steps))
        return turn

    def until(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """The rounds from begin to end, cut wherever models are passed on.

        An agent's optimizer goes on from one model to the next, which no version of a tape orders: a tape ends there.
        """
        a_turn = self.every // self.local_steps
        cuts = np.arange(begin // a_turn + 1, np.ceil(end / a_turn)) * a_turn
        return pairwise([begin, *cuts.tolist(), end])

    def passed_on(self, tape: Tape) -> Tape:
        """The tape with the agent that trains each model at each step."""
        holder = held_by(tape.agent, self.of_step(tape.step), tape.agents)
        return replace(tape, agent=np.where(tape.kind == TRAIN, holder, tape.agent).astype(tape.agent.dtype))


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
    if count == 1 or agents % count:
        raise SimulationError(
            f"turns are of submodel 'width:K', with as many agents for each subnetwork: got submodel {submodel!r} with "
            f"{agents} agents"
        )
    if settings["protocol"] != "exchange":
        raise SimulationError(
            f"turns are for protocol 'exchange': got protocol {protocol_name(settings['protocol'])!r}"
        )
    for name in EXCLUDED:
        if not np.array_equal(settings[name], usual[name]):
            got = shown(settings[name])
            raise SimulationError(
                f"turns need agents that take their steps together and exchange all parameters: leave out {name}={got}"
            )
    rule = settings["rule"]
    if isinstance(rule, str) and parse_rule(rule):
        raise SimulationError(f"{OF_ONE_MODEL}: got rule {rule!r}")
    return found


OF_ONE_MODEL = (
    "turns go with rule 'parameters', or one of your own that only changes the optimizer: what others keep belongs to "
    "the model that an agent passes on"
)


def check_passed_on(turns: int | None, rule: "Rule") -> None:
    """Raises SimulationError unless what the rule keeps may stay with agents that pass their models on."""
    if turns is not None and (rule.exchanged is not None or rule.final is not None):
        raise SimulationError(f"{OF_ONE_MODEL}: got rule {rule.name!r}")
