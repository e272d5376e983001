"""Writes the tables of docs/literature.md from docs/literature.json, which `benchmarks/literature.py --keep` measures.

python docs/literature.py --write
"""

from typing import Any

from pages import main

NAMES = ("quadratics", "mean", "spambase", "tokens", "losses", "merge")

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """A row for each comparison."""
    lines = ["| case | paper | here | seeds | match | by what |", "|---" * 6 + "|"]
    names = ("case", "reported", "ours", "seeds", "match", "why")
    lines += ["| " + " | ".join(row[name] for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def tables(kept: list[Row]) -> dict[str, str]:
    """Each table of the page, by its name."""
    return {name: table([row for row in kept if row["reproduction"] == name]) for name in NAMES}


if __name__ == "__main__":
    main(__doc__, "literature", tables)
