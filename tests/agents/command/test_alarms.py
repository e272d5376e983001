"""Alarms in words, in the table and in --json of `agent status`: a peer's text is shown, never interpreted."""

from agents.command.status import describe
from agents.command.tables import alarms_lines
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
