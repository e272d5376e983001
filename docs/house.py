"""Prints the rooms of the house: every file of ours with its caption and its lines, room by room.

    python docs/house.py            the rooms, their files, captions and lines
    python docs/house.py --write    the same, without lines, into the README, where a test holds the two together

A caption is the first sentence of a module's docstring. The README's list has no lines: they change with every commit,
and a list that is wrong until it is written again would make each of them touch the README.
"""

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADING = "## The house, file by file\n"

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


def house(counted: bool) -> str:
    """The rooms with their files and captions; counted: with lines of code too."""
    rows = []
    for room, purpose in ROOMS.items():
        inside = [path for path in files() if room_of(path) == room]
        if inside:
            total = f"{sum(map(lines, inside)):>6} " if counted else ""
            rows.append(f"{total}{room + '/':<24}{purpose}")
        for path in inside:
            count = f"{lines(path):>6} " if counted else ""
            rows.append(f"{count}  {path.relative_to(room).as_posix():<22}{caption(path)}".rstrip())
        rows += [""] * bool(inside)
    return "\n".join(rows)


def readme_list(readme: str) -> str:
    """The list under the README's heading, as `house` prints it."""
    block = re.search(f"{HEADING}\n((?:    .*\n|\n)*)", readme)
    return "" if block is None else re.sub("^    ", "", block[1], flags=re.MULTILINE)


def with_list(readme: str) -> str:
    """The README with its list brought up to date."""
    block = re.sub("^(?=.)", "    ", house(counted=False), flags=re.MULTILINE)
    return re.sub(f"({HEADING}\n)(?:    .*\n|\n)*", lambda match: f"{match[1]}{block}\n", readme)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The rooms of the house, file by file.")
    parser.add_argument("--write", action="store_true", help="bring the README's list up to date")
    if parser.parse_args().write:
        (ROOT / "README.md").write_text(with_list((ROOT / "README.md").read_text()))
    else:
        print(house(counted=True), end="")
