"""Tables in terminals of any width, and in pipes: a column is there or it isn't; no number and no name is cut."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agents.command.fitted import ENDLESS, fitting, printing
from agents.command.tables import members_table
from agents.command.top_tables import FULL, view
from agents.observe.seen import AgentSeen, LinkSeen, Snapshot
from transport.messages import Identity, Liveness, Member, Report

NAMES = ["hospital-of-berlin-1", "hospital-of-berlin-2", "c"]
CODEC = "lattice:4+segments:1/5"
NUMBERS = {"step": 12345, "steps": 100_000, "loss": 0.5123, "exchanges": 987_654}
COLUMNS = ["agent", "state", "step", "loss", "exchanges", "MB sent", "distance", "last", "codec"]


def members() -> list[Member]:
    report = Report(**NUMBERS, distance=0.1234, bytes_sent=12_345_678_901, last_exchange_s=0.5, codec=CODEC)
    return [Member(Identity(name, 1, ""), Liveness(state="training"), report) for name in NAMES]


def swarm() -> Snapshot:
    known = dict.fromkeys(AgentSeen.__dataclass_fields__) | {"state": "training", "alive": True, "codec": CODEC}
    known |= NUMBERS | {
        "age_s": 0.25,
        "declined": 1,
        "failed": 0,
        "waited": 0.25,
        "bytes_sent": 12_345_678_901,
        "to_mean": 0.0625,
        "steps_s": 41.5,
    }
    agents = tuple(AgentSeen(**known | {"agent": name}) for name in NAMES)
    links = (LinkSeen((NAMES[0], NAMES[1]), 2.5, 0.1),)
    return Snapshot("run", 4810, agents, 0.5, 3, links=links, layers={"encoder/block_11/attention/kernel": 0.5})


def printed(width: int, *shown: object) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(*shown, sep="\n")
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines) and "…" not in file.getvalue()
    return lines


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, ["agent", "step"]),
        (48, ["agent", "state", "step"]),
        (80, ["agent", "state", "step", "loss", "distance", "last"]),
        (200, COLUMNS),
        (ENDLESS, COLUMNS),
    ],
)
def test_members_are_shown_in_as_many_whole_columns_as_fit(width: int, columns: list[str]) -> None:
    lines = printed(width, members_table("a swarm", members()))
    _, head, *rows = lines
    assert re.split(r" +", head.replace("MB sent", "MB_sent").strip()) == [name.replace(" ", "_") for name in columns]
    for name, row in zip(NAMES, rows, strict=True):
        assert row.startswith(f"{name} ") and "12345/100000" in row
        assert ("987654" in row and "12345.7" in row and row.rstrip().endswith(CODEC)) == (columns == COLUMNS)


@pytest.mark.parametrize("width", [40, 80, 200, ENDLESS])
def test_a_look_at_a_swarm_names_everybody_whole(width: int) -> None:
    text = "\n".join(printed(width, view(swarm(), width)))
    assert all(name in text for name in NAMES) and "12345/100000" in text
    assert all(name in text for name in FULL) == (width > 100)
    if width > 40:
        assert f"{NAMES[0]} - {NAMES[1]}" in text and "encoder/block_11/attention/kernel" in text


def test_into_a_pipe_goes_all_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    printing().print(members_table("a swarm", members()))
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert all(name in head for name in COLUMNS) and len(rows) == len(NAMES)


@given(st.lists(st.text("x", max_size=9), min_size=1, max_size=5, unique=True), st.integers(0, 60), st.integers(1, 2))
def test_columns_are_left_out_in_their_order_and_none_in_vain(names: list[str], width: int, gap: int) -> None:
    leave = names[1:]
    kept = fitting(names, [names], leave, width, gap)

    def taken(columns: list[str]) -> int:
        return sum(map(len, columns)) + gap * (len(columns) - 1)

    left = len(names) - len(kept)
    assert kept == [name for name in names if name not in leave[:left]]
    assert taken(kept) <= width or kept == names[:1]
    assert not left or taken([name for name in names if name not in leave[: left - 1]]) > width
