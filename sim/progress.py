"""A progress bar for work that is dispatched to the device before it is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(rounds: float, show: bool) -> Iterator[Any]:
    """A progress bar; what it yields is called with the rounds that were begun and something to wait for.

    At most two blocks are under way: one on the device, one being made.
    """
    columns = TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("rounds"), TimeRemainingColumn()
    with Progress(*columns, transient=True, disable=not show) as shown:
        task = shown.add_task("", total=round(rounds))
        before: list[tuple[float, Any]] = []

        def advance(more: float, token: Any) -> None:
            before.append((more, jnp.copy(token)))
            if len(before) > 1:
                done, waited = before.pop(0)
                jax.block_until_ready(waited)
                shown.advance(task, done)

        yield advance
        for done, waited in before:
            jax.block_until_ready(waited)
            shown.advance(task, done)
