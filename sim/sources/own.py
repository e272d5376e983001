"""A protocol of one's own, from a class or a function; every block that it yields is checked before it runs."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.checks import SimulationError, shown
from sim.sources.source import Block, EventSource, Floats
from sim.tape import MIX, TRAIN, Tape, TapeError

ASKED = ("alpha", "weights", "local_steps", "message_bytes", "merge")
"""What a protocol may ask for by name, besides the topology and the conditions."""

EXPECTED = (
    "a protocol of one's own is a class or a function (topology, conditions, ...) that makes an EventSource, or an "
    "EventSource, with `agents` and `blocks(rounds, moments, window)`"
)


def protocol_name(protocol: Any) -> str:
    """What a protocol is called."""
    return protocol if isinstance(protocol, str) else str(getattr(protocol, "__name__", type(protocol).__name__))


def is_source(protocol: Any) -> bool:
    """Whether it is an event source, rather than what makes one."""
    return not isinstance(protocol, type) and hasattr(protocol, "blocks")


def check_protocol(protocol: Any) -> None:
    """Raise SimulationError unless a source can be made, as far as that is seen without making one."""
    if is_source(protocol):
        return
    if not callable(protocol) or (isinstance(protocol, type) and not hasattr(protocol, "blocks")):
        raise SimulationError(f"{EXPECTED}: got {shown(protocol)}")
    taken, first, _ = _parameters(protocol)
    if first < 2:
        raise SimulationError(f"{EXPECTED}: {protocol_name(protocol)} takes {first} arguments by position")
    for name, required in taken.items():
        if required and name not in ASKED:
            raise SimulationError(
                f"protocol {protocol_name(protocol)} asks for {name!r}: it may ask for {', '.join(ASKED)} by name, or "
                "give what it asks for a default"
            )


def made_source(protocol: Any, topology: Any, conditions: Any, given: Mapping[str, Any]) -> "Checked":
    """The source of one seed. given: all that a protocol may ask for, by name. Raises SimulationError."""
    source = protocol
    if not is_source(protocol):
        taken, _, takes_all = _parameters(protocol)
        asked = {name: value for name, value in given.items() if takes_all or name in taken}
        source = protocol(topology, conditions, **asked)
        if not is_source(source):
            raise SimulationError(f"{EXPECTED}: {protocol_name(protocol)} made {shown(source)}")
    agents = getattr(source, "agents", None)
    if agents != conditions.agents:
        raise SimulationError(
            f"protocol {protocol_name(protocol)} must have as many agents as the run, {conditions.agents}: "
            f"its `agents` is {shown(agents)}"
        )
    return Checked(source, protocol_name(protocol), local_steps=given["local_steps"])


class Checked:
    """The same source, each of whose blocks is checked as it comes. Raises TapeError, with the protocol's name."""

    def __init__(self, source: EventSource, name: str, *, local_steps: int) -> None:
        self.source, self.agents, self._name = source, source.agents, name
        self._trains = local_steps > 0
        self._entering = self.agents

    @property
    def goes_on(self) -> bool:
        """Whether the source can tell where it stands, and stand there again."""
        return hasattr(self.source, "state") and hasattr(self.source, "restore")

    def state(self) -> dict[str, NDArray[Any]]:
        """The source's."""
        found = {name: np.asarray(value) for name, value in self.source.state().items()}  # type: ignore[attr-defined]
        return found | {"entering": np.asarray(self._entering)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Stand where another of the same settings stood."""
        self._entering = int(state["entering"])
        self.source.restore(state)  # type: ignore[attr-defined]

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """The source's own, checked."""
        until, taken = -np.inf, 0
        for number, block in enumerate(self.source.blocks(rounds, moments, window)):
            if not isinstance(block, Block) or not isinstance(block.tape, Tape):
                self._fail(number, f"it is a Block of a Tape: got {shown(block)}")
            self._check_tape(number, block.tape)
            if not block.until > until:
                self._fail(number, f"blocks come in the order of time: this one ends at {block.until}, after {until}")
            until, snapshots = block.until, len(block.tape.snapshots)
            for name in ("rounds", "exchanges", "messages"):
                if np.shape(getattr(block, name)) != (snapshots,):
                    shape = np.shape(getattr(block, name))
                    self._fail(number, f"its {name} are one for each of {snapshots} snapshots: got shape {shape}")
            due = moments[taken : taken + snapshots]
            if len(due) < snapshots or not np.allclose(block.rounds, due):
                told = np.asarray(block.rounds).tolist()
                self._fail(number, f"its snapshots are at the moments asked for, {due.tolist()}: got {told}"[:200])
            taken += snapshots
            yield block
        if taken < len(moments) or until < rounds:
            raise TapeError(
                f"protocol {self._name} must yield blocks until round {rounds:g} with all {len(moments)} snapshots: "
                f"got {taken} of them until {until:g}"
            )

    def _check_tape(self, number: int, tape: Tape) -> None:
        try:
            tape.check()
        except TapeError as error:
            self._fail(number, str(error))
        if tape.agents != self.agents:
            self._fail(number, f"its tape is of the run's {self.agents} agents: got {tape.agents}")
        if tape.entering != self._entering:
            came = tape.entering
            self._fail(number, f"it begins with the {self._entering} versions that the last one leaves: got {came}")
        if len(tape.leaving) < self.agents or np.shape(tape.snapshots)[1:] != (self.agents,):
            self._fail(number, f"`leaving` and each snapshot name a version for each of {self.agents} agents at least")
        if not np.isin(tape.kind, (TRAIN, MIX)).all():
            self._fail(number, "its events are of kind TRAIN or MIX")
        if not self._trains and (tape.kind == TRAIN).any():
            self._fail(number, "with local_steps=0 nobody trains: leave TRAIN events out")
        if ((tape.agent < 0) | (tape.agent >= self.agents)).any() or (tape.step < 0).any():
            self._fail(number, f"its events have agents 0 to {self.agents - 1} and steps from 0 on")
        if not np.isfinite(tape.coefficient).all():
            self._fail(number, "coefficients are finite")
        self._entering = len(tape.leaving)

    def _fail(self, number: int, why: str) -> None:
        raise TapeError(f"block {number} of protocol {self._name} can't be run: {why}")


def _parameters(made: Any) -> tuple[dict[str, bool], int, bool]:
    """({what it takes by name: whether it must be given}, how many it takes by position, whether it takes any name)."""
    try:
        found = list(inspect.signature(made).parameters.values())
    except (TypeError, ValueError):
        return {}, 2, True
    kinds = inspect.Parameter
    position = [each for each in found if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    first = 2 if any(each.kind is kinds.VAR_POSITIONAL for each in found) else len(position)
    rest = [each for each in found if each.kind is kinds.KEYWORD_ONLY] + position[2:]
    takes_all = any(each.kind is kinds.VAR_KEYWORD for each in found)
    return {each.name: each.default is kinds.empty for each in rest}, first, takes_all
