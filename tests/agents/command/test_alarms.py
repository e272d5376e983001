"""Alarms and losses as lines and in --json of `agent status`: a peer's text is shown, never interpreted."""

from agents.command.status import describe
from agents.command.tables import alarms_lines, lost_line, lost_lines, refused_lines
from transport.messages import Identity, Liveness, Member, Report

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
