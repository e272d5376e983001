"""Keeps a long series in bounded memory, as evenly as it came: each second, fourth, eighth ... item and the last."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """A series of which at most so many items are kept."""

    def __init__(self, most: int) -> None:
        self._most, self._every, self.count = most, 1, 0
        self._kept: list[tuple[int, T]] = []

    def add(self, item: T) -> None:
        """The next one."""
        if self._kept and self._kept[-1][0] % self._every:
            self._kept.pop()  # It was kept as the last one alone.
        self._kept.append((self.count, item))
        self.count += 1
        if len(self._kept) > self._most:
            self._every *= 2
            self._kept = [each for each in self._kept[:-1] if each[0] % self._every == 0] + self._kept[-1:]

    def begin(self, items: Iterable[T]) -> None:
        """Forget what was, and take these."""
        self._every, self.count, self._kept = 1, 0, []
        for item in items:
            self.add(item)

    @property
    def items(self) -> list[T]:
        """What is kept, in order."""
        return [item for _, item in self._kept]

    @property
    def last(self) -> T | None:
        """The newest; None where there is none."""
        return self._kept[-1][1] if self._kept else None

    def since(self, count: int) -> list[T]:
        """What is kept of all but the first so many."""
        return [item for number, item in self._kept if number >= count]
