"""Vectors of agents that go to other subnetworks while somebody pulls them: each with the record that it goes with."""

import numpy as np
import pytest

from agents.observe.errors import NoVector
from agents.observe.streaming import ATTEMPTS, SwarmSource
from transport.messages import Identity, Liveness, Member, Report, Welcome

SETTINGS = {"submodel": "width:3", "width": 1.0}


def record(part):
    return Member(Identity("a", 1), Liveness(1, "training"), Report(shard="5/6", part=part, step=3))


class Moving:
    """An observer of one agent, whose record is the next one of these each time that it is asked for again."""

    def __init__(self, holds, records):
        self.holds, self.records, self.pulled = holds, list(records), []

    def reach(self):
        """Everybody is reached."""

    def reached_at(self, agent):
        """It is."""
        return "tcp://a"

    def alive(self):
        """The one agent, as it is known now."""
        return [record(self.records[0])]

    def refresh(self, timeout_s):
        """Its next record comes."""
        del self.records[: len(self.records) > 1]

    def pull(self, member, parameters, chunks):
        """Its vector, if it holds that of the record."""
        self.pulled.append(member.report.part)
        if member.report.part != self.holds:
            raise NoVector("nobody we are connected with reaches it")
        return np.full(parameters, member.report.part, np.float32)


def contributions(observer, tmp_path):
    welcome = Welcome(7, "a", 1, settings=SETTINGS, parameters=4)
    lines = []
    with SwarmSource(observer, welcome, (), tmp_path) as source:
        return list(source.contributions(lines.append)), lines


@pytest.mark.parametrize("records", [[1], [0, 1], [2, 0, 1], [2, 0, 2, 1]])
def test_who_goes_elsewhere_meanwhile_is_asked_again_by_its_next_record(records, tmp_path):
    observer = Moving(1, records)
    (found,), lines = contributions(observer, tmp_path)
    assert observer.pulled == records and not lines
    assert found.part == 1 and found.theta.tolist() == [1.0] * 4 and found.shard == "5/6"


def test_who_is_never_where_its_record_says_is_missing(tmp_path):
    observer = Moving(1, [0, 2] * 9)
    found, (line,) = contributions(observer, tmp_path)
    assert found == [] and line.startswith("a is missing") and len(observer.pulled) == ATTEMPTS


def test_who_is_silent_where_it_was_is_not_asked_again(tmp_path):
    observer = Moving(1, [2, 2])
    found, (line,) = contributions(observer, tmp_path)
    assert found == [] and line.startswith("a is missing") and observer.pulled == [2]


def test_where_agents_keep_their_subnetworks_nobody_is_asked_twice(tmp_path):
    observer = Moving(1, [-1, -1])
    found, (line,) = contributions(observer, tmp_path)
    assert found == [] and line.startswith("a is missing") and observer.pulled == [-1]
