"""A table that leaves out whole columns where the width lacks room for them, and never cuts a number or a name."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

Cells = Sequence[Text | str]

ENDLESS = 1_000_000
"""Characters of a line that has no end: no terminal is there whose width it would have to fit."""


@dataclass(frozen=True)
class Fitted:
    """columns: by name, how each is aligned. rows: their cells in this order, and the style of the row.

    leave: the columns that may be left out, the first first. fold: those that are wrapped where it is still too wide.
    """

    columns: Mapping[str, Literal["left", "right"]]
    rows: Sequence[tuple[Cells, str]]
    leave: Sequence[str]
    fold: Collection[str]
    title: Text | None = None

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Table]:
        names, cells = list(self.columns), [row for row, _ in self.rows]
        gap = 2 if fitting(names, cells, self.leave, options.max_width, 2) == names else 1
        kept = fitting(names, cells, self.leave, options.max_width, gap)
        table = Table(title=self.title, title_justify="left", box=None, header_style="bold")
        table.padding, table.pad_edge = (0, gap, 0, 0), False
        for name in kept:
            table.add_column(Text(name), justify=self.columns[name], no_wrap=name not in self.fold, overflow="fold")
        for row, style in self.rows:
            table.add_row(*(cell for name, cell in zip(names, row, strict=True) if name in kept), style=style)
        yield table


def printing() -> Console:
    """Prints to standard output: as wide as the terminal is, and endless where there is none."""
    found = Console(markup=False, emoji=False)
    return found if found.is_terminal else Console(markup=False, emoji=False, width=ENDLESS)


def fitting(names: Sequence[str], rows: Iterable[Cells], leave: Iterable[str], width: int, gap: int) -> list[str]:
    """The columns that fit: all of them but the first ones of `leave`, as few as will do.

    rows: their cells in this order. width: of the line, in characters. gap: between two columns.
    """
    columns = zip(names, *rows, strict=True)
    widths = {name: gap + max(cell_len(str(cell)) for cell in (name, *cells)) for name, *cells in columns}
    for name in leave:
        if sum(widths.values()) - gap <= width:
            break
        widths.pop(name, None)
    return list(widths)
