"""Values of settings that are written as text: a period, a shard, a budget, a clip, a condition, a capacity."""

import math
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agents.mixing.capacities import CAPACITIES
from topology.errors import GossamerError


class SettingsError(GossamerError, ValueError):
    """A setting can't be used. One line: what was expected, what came, what to do."""

    code = "G101"


@dataclass(frozen=True)
class Every:
    """The period of exchanges: `steps` local steps, or `seconds`; exactly one of them is positive, the other is 0."""

    steps: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (self.steps > 0) != (0 < self.seconds < math.inf) or min(self.steps, self.seconds) != 0:
            raise SettingsError(f"a period is a number of steps or of seconds, more than none: got {self!r}")

    @classmethod
    def parse(cls, text: str) -> "Every":
        """From "10steps" or "0.5s"; the inverse of `str`. Raises SettingsError."""
        match = re.fullmatch(r"(\d+) ?steps?|((?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?) ?s", text.strip())
        steps, seconds = (int(match[1] or 0), float(match[2] or 0)) if match else (0, 0.0)
        if not 0 < steps + seconds < math.inf:
            raise SettingsError(f'expected "10steps" or "0.5s", more than none: got {text!r}')
        return cls(steps, seconds)

    def __str__(self) -> str:
        return f"{self.steps}steps" if self.steps else f"{self.seconds!r}s"


@dataclass(frozen=True)
class Shard:
    """The part of the data that an agent trains on: number `index` of `shards`, counted from 0."""

    index: int
    shards: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.shards:
            wanted = f"0/{self.shards} to {self.shards - 1}/{self.shards}" if self.shards > 0 else "0/8 to 7/8, say"
            raise SettingsError(f"expected INDEX/SHARDS, counted from 0 ({wanted}): got '{self}'")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From "2/8", the third of eight; the inverse of `str`. Raises SettingsError."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match:
            raise SettingsError(f"expected INDEX/SHARDS, counted from 0 (0/8 to 7/8, say): got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.shards}"


@dataclass(frozen=True)
class Budget:
    """What training may give away of any one example: (epsilon, delta) of differential privacy."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (0 < self.epsilon < math.inf and 0 < self.delta < 1):
            raise SettingsError(f"expected EPSILON,DELTA (3,1e-5, say), both positive and delta below 1: got '{self}'")

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """From "3,1e-5"; the inverse of `str`. Raises SettingsError."""
        try:
            epsilon, delta = map(float, text.split(","))
        except ValueError:
            raise SettingsError(f"expected EPSILON,DELTA (3,1e-5, say): got {text!r}") from None
        return cls(epsilon, delta)

    def __str__(self) -> str:
        return f"{self.epsilon!r},{self.delta!r}"


@dataclass(frozen=True)
class Clip:
    """To how many times our own movement a peer's difference is clipped; infinity for no clipping."""

    factor: float = math.inf

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise SettingsError(f"expected a factor above 0, such as 5, or off: got {self.factor}")

    @classmethod
    def parse(cls, text: str) -> "Clip":
        """From "5" or "off"; the inverse of `str`. Raises SettingsError."""
        try:
            return cls(math.inf if text.strip() == "off" else float(text))
        except ValueError:
            raise SettingsError(f"expected a factor above 0, such as 5, or off: got {text!r}") from None

    def __str__(self) -> str:
        return "off" if math.isinf(self.factor) else f"{self.factor:g}"


RELATIONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Condition:
    """When a model is good enough: where its score in `metric` is in this relation to the bound."""

    metric: str
    relation: str
    bound: float

    def __post_init__(self) -> None:
        if (
            not re.fullmatch(r"[^\s<>=]+", self.metric)
            or self.relation not in RELATIONS
            or not math.isfinite(self.bound)
        ):
            raise SettingsError(f"expected METRIC>NUMBER, or with <, >= or <= (accuracy>0.95, say): got '{self}'")

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From "accuracy>0.95" or "loss <= 0.1"; the inverse of `str`. Raises SettingsError."""
        match = re.fullmatch(r"\s*([^\s<>=]+)\s*([<>]=?)\s*([^\s<>=]+)\s*", text)
        try:
            return cls(match[1], match[2], float(match[3])) if match else cls(text, "", 0.0)
        except ValueError:
            raise SettingsError(
                f"expected METRIC>NUMBER, or with <, >= or <= (accuracy>0.95, say): got {text!r}"
            ) from None

    def __str__(self) -> str:
        return f"{self.metric}{self.relation}{self.bound!r}" if self.relation else self.metric

    @property
    def larger(self) -> bool:
        """Whether larger scores are better."""
        return self.relation in (">", ">=")

    def holds(self, score: float) -> bool:
        """Whether a model with this score is good enough; none is whose score is not a number."""
        return bool(RELATIONS[self.relation](score, self.bound))


@dataclass(frozen=True)
class Capacity:
    """The share of a nested model's hidden units that an agent holds; several are those of so many agents, in order."""

    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.shares or any(share not in CAPACITIES for share in self.shares):
            known = ", ".join(f"{share:g}" for share in CAPACITIES)
            raise SettingsError(f"a capacity is one of {known}, or one for each agent, as in 1,0.5: got '{self}'")

    @classmethod
    def parse(cls, text: str) -> "Capacity":
        """From "0.5" or "1,0.5,0.5"; the inverse of `str`. Raises SettingsError."""
        try:
            return cls(tuple(map(float, text.split(","))))
        except SettingsError:
            raise
        except ValueError:
            raise SettingsError(
                f"expected a capacity such as 0.5, or one for each agent, as in 1,0.5: got {text!r}"
            ) from None

    def __str__(self) -> str:
        return ",".join(f"{share:g}" for share in self.shares)

    def of(self, agents: int) -> tuple[float, ...]:
        """Of each of so many agents. Raises SettingsError unless there is one for all, or for each."""
        if len(self.shares) not in (1, agents):
            raise SettingsError(f"--capacity has one share, or one for each of {agents} agents: got {self}")
        return self.shares if len(self.shares) == agents else self.shares * agents


def capacity_of(given: Any) -> Capacity:
    """From a number, a text or one number for each agent. Raises SettingsError."""
    numbers = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return Capacity.parse(",".join(map(str, numbers)))
