"""Prints the rooms of the house: every file of ours with its caption and its lines, room by room.

    python docs/house.py            the rooms, their files, captions and lines
    python docs/house.py --write    the same, without lines, into docs/house.md, where a test holds the two together

A caption is the first sentence of a module's docstring. The page has no lines: they change with every commit, and a
list that is wrong until it is written again would make each of them touch it.
"""

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "house.md"
HEADING = """# The house, file by file

Each room with its files, in one line each; what rooms may import is in tests/test_house.py. This page is
written by `python docs/house.py --write`.
"""

ROOMS = {
    "topology": "graphs, schedules, mixing matrices, spectra, forecasts, selection; numpy and scipy alone",
    "transport": "messages, their encoding, addresses, keys, the link; never jax, never agents",
    "agents/mixing": "what happens to vectors: layouts, exchanges, codecs, the replica, the consensus",
    "agents/learning": "what is trained: tasks, learner, rules, data",
    "agents/protocol": "who talks to whom, and when; sans-IO",
    "agents/observe": "looks at a swarm or a finished run from outside",
    "agents/sinks": "where an agent's metrics go besides its folder, one a file",
    "agents/dashboard": "a page that shows a swarm: what stands on it, and its server",
    "agents": "a swarm for any training loop; what is shared, what is chosen, what lies on disk",
    "agents/command": "the `agent` command, presentation only",
    "sim": "the simulator; imports the others, nobody imports it",
    "sim/sources": "where the events of a simulation come from, one a file",
    "sim/device": "a tape on the device",
}
"""Folder: what it is for. A file belongs to the deepest room that holds it."""

PACKAGES = sorted({room.split("/")[0] for room in ROOMS})


def files() -> list[Path]:
    """Every file of ours that isn't empty, relative to the root, sorted."""
    found = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [path.relative_to(ROOT) for path in found if path.read_text().strip()]


def room_of(path: Path) -> str:
    """The room of a file or folder (relative to the root)."""
    return max((room for room in ROOMS if Path(room) in (path, *path.parents)), key=len)


def caption(path: Path) -> str:
    """The first sentence of a module's docstring, in one line; "" for none."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return re.split(r"\.(?:\s|$)", text)[0].replace("\n", " ")


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len((ROOT / path).read_text().splitlines())


def inside(room: str) -> list[Path]:
    """The files of a room."""
    return [path for path in files() if room_of(path) == room]


def house() -> str:
    """The rooms with their files, captions and lines of code."""
    rows = []
    for room, purpose in ROOMS.items():
        rows.append(f"{sum(map(lines, inside(room))):>6} {room + '/':<24}{purpose}")
        rows += [f"{lines(path):>6}   {path.relative_to(room).as_posix():<22}{caption(path)}" for path in inside(room)]
        rows.append("")
    return "\n".join(row.rstrip() for row in rows)


def page() -> str:
    """What docs/house.md holds."""
    parts = [HEADING]
    for room, purpose in ROOMS.items():
        rows = [
            f"| `{path.relative_to(room).as_posix()}` | {caption(path).replace('|', chr(92) + '|')} |"
            for path in inside(room)
        ]
        parts.append(
            "\n".join([f"## {room}/\n", f"{purpose[0].upper()}{purpose[1:]}.\n", "| file | |", "|---|---|", *rows])
            + "\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The rooms of the house, file by file.")
    parser.add_argument("--write", action="store_true", help="bring docs/house.md up to date")
    if parser.parse_args().write:
        PAGE.write_text(page())
    else:
        print(house(), end="")
