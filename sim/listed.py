"""What a sweep is over: which settings are given as lists of values, and by what each of its runs is found."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from agents.learning.data import AsGiven, Partition
from sim.checks import SimulationError, scalar, shown, whole
from sim.sources.own import is_source

SEVERAL = ("speeds", "capacity", "private", "snapshots")
"""Settings whose one value may be a list, of numbers or texts: a list of lists, tuples or arrays holds several."""


def is_listed(name: str, value: Any) -> bool:
    """Whether it is a list of a setting's values. A list of partitions is; index lists, and owners, are one."""
    if not isinstance(value, list) or name == "init":
        return False
    if name in SEVERAL:
        return any(isinstance(each, list | tuple | np.ndarray) for each in value)
    return name != "partition" or all(isinstance(each, str | Partition | AsGiven) or callable(each) for each in value)


def keys_of(name: str, values: Iterable[Any]) -> list[Hashable]:
    """What stands for each value in the key of its runs: itself, of a list a tuple. Raises SimulationError."""
    found = []
    for value in values:
        key = _hashable(value)
        try:
            hash(key)
        except TypeError:
            raise SimulationError(
                f"the runs of a sweep are found by their settings, so these must be hashable: got {name} "
                f"{shown(value)}; run simulate for each of them"
            ) from None
        found.append(key)
    return found


def checked_seeds(seeds: Any, settings: Mapping[str, Any]) -> list[int]:
    """The seeds of a sweep with these settings. Raises SimulationError unless they are seeds, and it can be one."""
    if settings.get("resume") is not None:
        raise SimulationError("sweep begins its runs: to go on from one use simulate(resume=...)")
    if is_source(settings.get("protocol")):
        raise SimulationError("an EventSource yields the blocks of one run: give sweep the class or function of it")
    if "seed" in settings:
        raise SimulationError(f"sweep takes seeds, such as seeds=[0, 1, 2]: got seed={shown(settings['seed'])}")
    expected = "seeds are whole numbers, such as range(5)"
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise SimulationError(f"{expected}: got {shown(seeds)}")
    return [whole(seed, expected) for seed in seeds]


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    return tuple(map(_hashable, value)) if type(value) in (list, tuple) else scalar(value)
