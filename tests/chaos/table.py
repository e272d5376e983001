"""The tables of docs/reliability.md, whose rows are written by what measures them."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- rows: written by `make chaos` -->", "<!-- end of rows -->"


def write(kind: str, what: str, found: str, limit: str, kept: bool, page: Path = PAGE) -> None:
    """Put the row of this kind in the place of the one that is there, or behind the others."""
    text = page.read_text()
    head, rest = text.split(BEGIN)
    rows, tail = rest.split(END)
    lines = [line for line in rows.strip().splitlines() if line]
    row = f"| {kind} | {what} | {found} | {limit} | {'yes' if kept else '**no**'} |"
    names = [line.split("|")[1].strip() for line in lines]
    if kind in names:
        lines[names.index(kind)] = row
    else:
        lines.append(row)
    page.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)
