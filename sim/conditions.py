"""What agents and their network are like: clocks, speeds, delays, losses, sessions, late joiners, a split that heals.

Everything is a function of (seed, agent, number), so whatever the order in which it is asked, the answer is the same.
Times are in rounds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.checks import array, number, one_of, scalar, shown
from topology import draw
from topology.errors import GossamerError

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

PHASE, INTERVAL, LOST, FIRST_DELAY, SECOND_DELAY, SESSION, SOURCE = range(1, 8)  # keep the random streams apart

DELAYS = (
    "a number of rounds, a (low, high) pair, 'lognormal:MEDIAN:SIGMA' or 'bandwidth:BYTES' (bytes a round, so that "
    "the delay is the model's size over it)"
)
CLOCKS = ("periodic", "poisson")


class ConditionsError(GossamerError, ValueError):
    """The conditions asked for can't be. One line: what was expected, what came, what to do."""

    code = "G602"


def uniform(seed: int, stream: int, agent: Ints, number: Ints | int) -> Floats:
    """In (0, 1), one for each agent and number; the same for the same arguments."""
    return (draw(seed * 16 + stream, agent, number, 2**32 - 1) + 0.5) / (2**32 - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionSettings:
    """The settings that conditions are made of; a simulation has them among its own.

    clock: 'periodic' with a random phase, or 'poisson'. delay: `DELAYS`, of each message. drop: share lost.
    online: share of the time that an agent is there, in sessions of `session` rounds on and off taken together.
    speeds: turns a round, one number or one for each agent. joins: {agent: the round when it comes}.
    split: (from, until, groups): between these rounds only agents of one group reach each other; groups (agents,).
    """

    clock: str = "periodic"
    delay: Any = 0.0
    drop: float = 0.0
    online: float = 1.0
    session: float = 10.0
    speeds: ArrayLike = 1.0
    joins: Mapping[int, float] | None = None
    split: tuple[float, float, Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class Conditions(ConditionSettings):
    """The conditions of one simulated run: its settings, checked, for so many agents and one seed.

    Raises ConditionsError.
    """

    agents: int
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.clock, "clock", CLOCKS, ConditionsError)
        for name, expected, holds in (
            ("drop", "drop is a share in [0, 1)", lambda x: 0 <= x < 1),
            ("online", "online is a share in (0, 1]", lambda x: 0 < x <= 1),
            ("session", "session is a length in rounds, above 0", lambda x: 0 < x < math.inf),
        ):
            self._set(name, number(getattr(self, name), expected, holds, ConditionsError))
        self._set("speeds", self._checked_speeds())
        self._set("joins", self._checked_joins())
        self._check_split()
        self._set("delay", _plain_delay(self.delay))
        delay_of(self.delay, 1)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_speeds(self) -> Any:
        wrong = f"speeds are turns a round above 0, one number or {self.agents} of them: got "
        speeds = array(self.speeds, ConditionsError(wrong + shown(self.speeds)))
        if speeds.shape not in ((), (self.agents,)) or not np.all((speeds > 0) & np.isfinite(speeds)):
            raise ConditionsError(f"{wrong}shape {speeds.shape}, least {speeds.min(initial=math.inf)}")
        return scalar(self.speeds) if not speeds.ndim else speeds

    def _checked_joins(self) -> dict[int, float] | None:
        if self.joins is None:
            return None
        expected = f"joins is {{agent: round}}, agents 0 to {self.agents - 1}"
        if not isinstance(self.joins, Mapping):
            raise ConditionsError(f"{expected}: got {shown(self.joins)}")
        joins = {scalar(agent): scalar(time) for agent, time in self.joins.items()}
        for agent, time in joins.items():
            if not isinstance(agent, int) or not 0 <= agent < self.agents or not isinstance(time, int | float):
                raise ConditionsError(f"{expected}: got {shown(agent)}: {shown(time)}")
            if not 0 <= time < math.inf:
                raise ConditionsError(f"{expected}, rounds from 0 on: got {agent}: {time}")
        if len(joins) >= self.agents:
            raise ConditionsError(
                f"joins must leave an agent that is there from the start, to take the model from: got all {self.agents}"
            )
        return joins

    def _check_split(self) -> None:
        if self.split is None:
            return
        expected = f"split is (from, until, groups), groups one number for each of {self.agents} agents"
        try:
            start, end, groups = self.split
            shape = np.shape(groups)
        except (TypeError, ValueError):  # Also of groups that are lists of several lengths.
            raise ConditionsError(f"{expected}: got {shown(self.split)}") from None
        for time in (start, end):
            number(time, expected, lambda x: x >= 0, ConditionsError)
        if start > end or shape != (self.agents,):
            raise ConditionsError(f"{expected}: got {start}, {end} and groups of shape {shape}")

    @property
    def speed(self) -> Floats:
        """Turns a round of each agent, (agents,)."""
        return np.broadcast_to(np.asarray(self.speeds, np.float64), self.agents)

    def first_turns(self) -> Floats:
        """When each agent takes its first turn, (agents,)."""
        everyone = np.arange(self.agents)
        if self.clock == "poisson":
            return self.interval(everyone, np.zeros(self.agents, np.int64))
        return uniform(self.seed, PHASE, everyone, 0) / self.speed

    def interval(self, agent: Ints, turn: Ints) -> Floats:
        """From each agent's turn of this number to its next."""
        if self.clock == "poisson":
            return -np.log(uniform(self.seed, INTERVAL, agent, turn)) / self.speed[agent]
        return 1 / self.speed[agent]

    def lost(self, agent: Ints, turn: Ints) -> NDArray[np.bool_]:
        """Whether what the agent sends at this turn never arrives."""
        if self.drop == 0:
            return np.zeros(len(agent), bool)
        return uniform(self.seed, LOST, agent, turn) < self.drop

    def delays(self, agent: Ints, turn: Ints, message_bytes: int, way: int = FIRST_DELAY) -> Floats:
        """How long the message takes; way: FIRST_DELAY for what is sent at a turn, SECOND_DELAY for its answer."""
        return delay_of(self.delay, message_bytes)(lambda: uniform(self.seed, way, agent, turn), len(agent))

    def is_online(self, agent: Ints, time: Floats) -> NDArray[np.bool_]:
        """Whether each agent is there at its time."""
        there = np.ones(len(agent), bool)
        if self.online < 1:
            there &= self._session(agent, time) < self.online
        if self.joins:
            there &= time >= self.join_times[agent]
        return there

    def next_online(self, agent: Ints, time: Floats) -> Floats:
        """The time itself where the agent is there, or when it next is."""
        if self.online < 1:
            into = self._session(agent, time)
            time = np.where(into < self.online, time, time + (1 - into) * self.session + 1e-9)
        return time

    def reach(self, agent: Ints, peer: Ints, time: Floats) -> NDArray[np.bool_]:
        """Whether a message between these two gets through at its time, if it isn't lost."""
        if self.split is None:
            return np.ones(len(agent), bool)
        start, end, groups = self.split
        group = np.asarray(groups)
        return np.asarray((group[agent] == group[peer]) | (time < start) | (time >= end))

    @property
    def join_times(self) -> Floats:
        """When each agent comes, (agents,); 0 for those who are there from the start."""
        times = np.zeros(self.agents)
        for agent, time in (self.joins or {}).items():
            times[agent] = time
        return times

    def _session(self, agent: Ints, time: Floats) -> Floats:
        """How far into its session each agent is, in [0, 1)."""
        return (time / self.session + uniform(self.seed, SESSION, agent, 0)) % 1.0


def _plain_delay(delay: Any) -> Any:
    """NumPy's numbers and arrays as Python's own."""
    if isinstance(delay, np.ndarray) and delay.ndim == 1:
        return tuple(delay.tolist())
    return type(delay)(map(scalar, delay)) if type(delay) in (list, tuple) else scalar(delay)


def delay_of(delay: Any, message_bytes: int) -> Callable[[Callable[[], Floats], int], Floats]:
    """A function (uniforms, count) -> delays (count,) in rounds. Raises ConditionsError."""
    match delay:
        case bool():
            pass
        case int() | float() if 0 <= delay < math.inf:
            return lambda uniforms, count: np.full(count, float(delay))
        case (int() | float() as low, int() | float() as high) if 0 <= low <= high < math.inf:
            return lambda uniforms, count: low + (high - low) * uniforms()
        case str():
            kind, *rest = delay.split(":")
            try:
                numbers = [float(number) for number in rest]
            except ValueError:
                numbers = []
            match kind, numbers:
                case "lognormal", [median, sigma] if 0 < median < math.inf and 0 <= sigma < math.inf:
                    from scipy.special import ndtri

                    return lambda uniforms, count: median * np.exp(sigma * ndtri(uniforms()))
                case "bandwidth", [bandwidth] if 0 < bandwidth < math.inf:
                    return lambda uniforms, count: np.full(count, message_bytes / bandwidth)
    raise ConditionsError(f"delay is {DELAYS}: got {shown(delay)}")
