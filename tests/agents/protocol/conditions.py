"""Conditions that a virtual network runs until, asked after every event."""

from collections.abc import Callable, Iterable
from typing import TypeVar

One = TypeVar("One")


def for_all(those: Iterable[One], holds: Callable[[One], bool]) -> Callable[[], bool]:
    """Whether it holds for each of those at this moment: asked first of whom it failed for last."""
    order = list(those)

    def condition() -> bool:
        failed = next((k for k, one in enumerate(order) if not holds(one)), None)
        if failed is not None:
            order.insert(0, order.pop(failed))
        return failed is None

    return condition
