"""A protocol of one's own, from a class or a function; every block that it yields is checked before it runs."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sim.checks import SimulationError, scalar, shown
from sim.sources.source import Block, EventSource, Floats
from sim.tape import MIX, TRAIN, Tape, TapeError

ASKED = ("alpha", "weights", "local_steps", "message_bytes", "merge")
"""What a protocol may ask for by name, besides the topology and the conditions."""

EXPECTED = (
    "a protocol of one's own is a class or a function (topology, conditions, ...) that makes an EventSource, or an "
    "EventSource, with `agents` and `blocks(rounds, moments, window)`"
)


COLUMNS: dict[str, type[np.generic]] = {
    **{name: np.int32 for name in ("agent", "peer", "step", "cur", "a", "b", "leaving", "snapshots")},
    **{"kind": np.int8, "time": np.float64, "coefficient": np.float32},
}
"""Of what type a tape's arrays are, whatever a protocol makes them of."""
NOT_OF_EVENTS = "leaving", "snapshots"
"""All others have a value for each event."""


def protocol_name(protocol: Any) -> str:
    """What a protocol is called."""
    return protocol if isinstance(protocol, str) else str(getattr(protocol, "__name__", type(protocol).__name__))


def is_source(protocol: Any) -> bool:
    """Whether it is an event source, rather than what makes one."""
    return not isinstance(protocol, type) and callable(getattr(protocol, "blocks", None))


def check_protocol(protocol: Any) -> None:
    """Raise SimulationError unless a source can be made, as far as that is seen without making one."""
    if is_source(protocol):
        return
    if not callable(protocol) or (isinstance(protocol, type) and not callable(getattr(protocol, "blocks", None))):
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
    agents = scalar(getattr(source, "agents", None))
    if not isinstance(agents, int) or agents != conditions.agents:
        raise SimulationError(
            f"protocol {protocol_name(protocol)} must have as many agents as the run, {conditions.agents}: "
            f"its `agents` is {shown(agents)}"
        )
    return Checked(source, protocol_name(protocol), local_steps=given["local_steps"])


class Checked:
    """The same source, each of whose blocks is checked as it comes. Raises TapeError, with the protocol's name."""

    def __init__(self, source: EventSource, name: str, *, local_steps: int) -> None:
        self.source, self.agents, self._name = source, int(source.agents), name
        self._trains = local_steps > 0
        self._entering = self.agents

    @property
    def goes_on(self) -> bool:
        """Whether the source can tell where it stands, and stand there again."""
        return hasattr(self.source, "state") and hasattr(self.source, "restore")

    def state(self) -> dict[str, NDArray[Any]]:
        """The source's."""
        returned = self.source.state()  # type: ignore[attr-defined]
        found: dict[str, NDArray[Any]] = {}
        for name, value in returned.items() if isinstance(returned, Mapping) else [(None, None)]:
            array = _as_array(value)
            if not isinstance(name, str) or array is None:
                raise SimulationError(
                    f"state() of protocol {self._name} returns {{name: array}}: got {shown(returned)}"
                )
            found[name] = array
        return found | {"entering": np.asarray(self._entering)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Stand where another of the same settings stood."""
        self._entering = int(state["entering"])
        self.source.restore(state)  # type: ignore[attr-defined]

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """The source's own, checked."""
        until, taken = -np.inf, 0
        made = self.source.blocks(rounds, moments.copy(), window)  # What it does to these is its own matter.
        if not isinstance(made, Iterable):
            raise TapeError(f"protocol {self._name} must yield blocks: its blocks(...) gave {shown(made)}")
        for number, given in enumerate(made):
            if not isinstance(given, Block) or not isinstance(given.tape, Tape):
                self._fail(number, f"it is a Block of a Tape: got {shown(given)}")
            block = given._replace(tape=self._with_arrays(number, given.tape), until=scalar(given.until))
            self._check_tape(number, block.tape)
            if not isinstance(block.until, int | float) or not block.until > until:
                ends = shown(block.until)
                self._fail(number, f"blocks come in the order of time: this one ends at {ends}, after {until}")
            until, snapshots = block.until, len(block.tape.snapshots)
            counts = [self._count(number, block, name, snapshots) for name in ("rounds", "exchanges", "messages")]
            block = Block(block.tape, block.until, *counts)
            due = moments[taken : taken + snapshots]
            if len(due) < snapshots or not np.allclose(block.rounds, due):
                came = np.asarray(block.rounds).tolist()
                self._fail(number, f"its snapshots are at the moments asked for, {due.tolist()}: got {came}"[:200])
            taken += snapshots
            yield block
        if taken < len(moments) or until < rounds:
            raise TapeError(
                f"protocol {self._name} must yield blocks until round {rounds:g} with all {len(moments)} snapshots: "
                f"got {taken} of them until {until:g}"
            )

    def _count(self, number: int, block: Block, name: str, snapshots: int) -> NDArray[Any]:
        """One of the block's numbers of each snapshot, (S,)."""
        given = getattr(block, name)
        found = _as_array(given)
        if found is None or found.shape != (snapshots,) or not np.isfinite(found).all():
            got = shown(given if found is None else found)
            self._fail(number, f"its {name} are one for each of {snapshots} snapshots, finite numbers: got {got}")
        return found if found.size else found.astype(int)

    def _with_arrays(self, number: int, tape: Tape) -> Tape:
        """The tape with arrays of the types that a device takes; what these would not hold is refused."""
        made: dict[str, Any] = {}
        events = np.size(tape.kind)
        for name, dtype in COLUMNS.items():
            given, fits = getattr(tape, name), True
            found = _as_array(given)
            if found is not None:
                found = found if found.size else np.empty((0, self.agents) if name == "snapshots" else 0, dtype)
                fits = name in NOT_OF_EVENTS or found.shape == (events,)
            if found is None or not fits or not _holds(dtype, found):
                of = "" if name in NOT_OF_EVENTS else f", one for each of {events} events"
                got = shown(given if found is None else found)
                self._fail(number, f"`{name}` has {np.dtype(dtype)} values{of}: got {got}")
            made[name] = found.astype(dtype)
        return replace(tape, **made)

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
        if not (np.diff(tape.time) >= 0).all():
            self._fail(number, "its events are in the order of time")
        self._entering = len(tape.leaving)

    def _fail(self, number: int, why: str) -> NoReturn:
        raise TapeError(f"block {number} of protocol {self._name} can't be run: {why}")


def _as_array(value: Any) -> NDArray[Any] | None:
    """The value as an array of numbers, None if it is none."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):  # Rows of several lengths.
        return None
    return found if found.dtype.kind in "biuf" else None


def _holds(dtype: type[np.generic], found: NDArray[Any]) -> bool:
    """Whether an array of this type has the same values, but for the rounding of floats."""
    if not np.can_cast(found.dtype, dtype, "same_kind"):
        return False
    return np.issubdtype(dtype, np.floating) or bool((found.astype(dtype) == found).all())


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
