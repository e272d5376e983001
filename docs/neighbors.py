"""Writes the tables of docs/neighbors.md from docs/neighbors.json, which `benchmarks/choosing.py --keep` measures.

python docs/neighbors.py --write
"""

from typing import Any

from pages import main

Result = dict[str, Any]


def exchanges(results: list[Result]) -> str:
    """A row for each topology: exchanges by each choice."""
    rows = ["| topology | agents | uniform | roundrobin |", "|---|---|---|---|"]
    for place in _places(results):
        cells = [_cell(results, place, choose) for choose in ("uniform", "roundrobin")]
        if not any(cells):
            cells = [f"{_cell(results, place, '')}, as the schedule says", ""]
        rows.append(f"| {_named(place)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def times(results: list[Result]) -> str:
    """A row for each topology: time by each choice, and the share of exchanges over slow links."""
    choices = ("uniform", "roundrobin", "fastest")
    rows = ["| slow links | topology | agents | " + " | ".join(choices) + " |", "|---" * 6 + "|"]
    for slower in sorted({each["slower"] for each in results}):
        some = [each for each in results if each["slower"] == slower]
        for place in _places(some):
            cells = []
            for choose in choices:
                (one,) = [each for each in some if (each["topology"], each["choose"]) == (place, choose)]
                cells.append(f"{_cell(some, place, choose)}; {one['slow']:.0%}")
            rows.append(f"| {slower} times | {_named(place)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _places(results: list[Result]) -> list[str]:
    return list(dict.fromkeys(each["topology"] for each in results))


def _named(place: str) -> str:
    return " | ".join(place.rsplit(":", 1))


def _cell(results: list[Result], place: str, choose: str) -> str:
    some = [each for each in results if (each["topology"], each["choose"]) == (place, choose)]
    return f"{some[0]['mean']:.1f} ± {some[0]['std']:.1f}" if some else ""


TABLES = {"exchanges": exchanges, "time": times}


def tables(results: list[Result]) -> dict[str, str]:
    """Each table of the page, by its name."""
    return {part: table([each for each in results if each["part"] == part]) for part, table in TABLES.items()}


if __name__ == "__main__":
    main(__doc__, "neighbors", tables)
