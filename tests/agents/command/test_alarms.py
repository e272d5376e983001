"""Alarms and losses as lines and in --json of `agent status`: a peer's text is shown, never interpreted."""

import io

from rich.console import Console

from agents.command.status import describe
from agents.command.tables import alarms_lines, lost_line, lost_lines, members_table, refused_lines
from agents.observe.records import refusals_of
from transport.messages import Identity, Links, Liveness, Member, Report

ALARMED = Member(Identity("a", 1), Liveness(0, "training"), Report(alarm="b is far from us; c [red]lies[/red]"))
QUIET = Member(Identity("b", 1), Liveness(0, "training"))


def test_each_alarm_is_a_line_and_an_entry():
    assert [line.plain for line in alarms_lines([ALARMED, QUIET])] == [
        "alarm of a: b is far from us",
        "alarm of a: c [red]lies[/red]",
    ]
    assert describe(ALARMED, True, 0.0)["alarms"] == ["b is far from us", "c [red]lies[/red]"]
    assert describe(QUIET, True, 0.0)["alarms"] == []


def test_each_connection_that_was_refused_is_a_line_and_an_entry():
    refused = {"a": [(9.0, "a connection in [red]plaintext[/red], 9 s ago")], "b": [(2.0, "c: its run is x, 2 s ago")]}
    assert [line.plain for line in refused_lines(refused)] == [
        "b refused c: its run is x, 2 s ago",
        "a refused a connection in [red]plaintext[/red], 9 s ago",
    ]
    assert describe(ALARMED, True, 0.0, refused["a"])["refused"] == [refused["a"][0][1]]
    assert describe(QUIET, True, 0.0)["refused"] == []


def test_what_was_lost_is_a_line_where_anything_was():
    losing = Member(Identity("c", 1), Liveness(0, "training"), Report(lost=17))
    (line,) = lost_lines([losing, QUIET])
    assert line.plain.startswith("c: 17 chunks were open with an agent that crashed")
    assert [describe(member, True, 0.0)["lost"] for member in (losing, QUIET)] == [17, 0]
    assert lost_line(0) == "" and lost_line(1).startswith("1 chunk was open")


TURNED = "\u202eevil\u2066\u200b\u2028"
"""Turns the direction of writing, is invisible, and ends a line."""


def test_what_is_not_printable_of_a_peer_s_texts_is_shown_as_a_mark():
    report = Report(alarm=TURNED, codec=TURNED, metric=TURNED, lost=1)
    member = Member(Identity(TURNED, 1), Liveness(0, TURNED), report)
    shown = io.StringIO()
    lines = *alarms_lines([member]), *refused_lines({TURNED: [(1.0, TURNED)]}), *lost_lines([member])
    Console(file=shown, width=200).print(members_table("run", [member], [member]), *lines, sep="\n")
    text = shown.getvalue()
    assert "\ufffdevil" in text and all(line.isprintable() for line in text.split("\n"))


def test_numbers_beyond_any_count_are_none():
    refused = {"long ago": 1e308, "at once": 2.0}
    assert refusals_of(Links(refused=refused), 0.0) == [(2.0, "at once, 2 s ago")]
