"""An observer knows the true age of each record, however seldom it asks for them."""

import time

import numpy as np
import pytest
from fake_peers import pieces_of

from agents.command.cli import run_command
from agents.observe import evaluation
from agents.observe.observer import ASK_S, observing
from transport.messages import Identity, Liveness, Member

DEAD = Member(Identity("dead", 1), Liveness(7, "training"))


def test_one_that_is_long_silent_is_gone_at_first_sight(peer):
    old = Member(Identity("old", 1), Liveness(0, "training", 40.0))
    one = peer(members=lambda self: (self.me(), old))
    with observing([one.address], 15) as (watching, _):
        assert [member.agent for member in watching.alive()] == ["honest"]
        assert [member.agent for member in watching.gone()] == ["old"]
        assert 40 <= watching.silent_s("old") < 60


@pytest.mark.parametrize("pause_s", [1.0, 3.0, 10.0])
def test_a_record_that_stays_the_same_grows_old_however_seldom_one_looks(peer, clock, pause_s):
    one = peer(members=lambda self: (self.me(), DEAD))
    with observing([one.address], 15) as (watching, _):
        assert [member.agent for member in watching.alive()] == ["dead", "honest"]
        for _ in range(6):
            clock.ahead_s += pause_s
            assert watching.refresh(15)
        assert [member.agent for member in watching.alive()] == ["honest"]
        assert 6 * pause_s <= watching.silent_s("dead") < 6 * pause_s + 15


def test_a_member_that_is_not_reached_makes_nobody_answer_more_often(peer):
    """An answer that ends the wait for messages would else be the next question to all."""
    nowhere = Member(Identity("nowhere", 1, "tcp://127.0.0.1:9"), Liveness(1, "training"))
    asked: list[int] = []

    def members(self):
        asked.append(1)
        return (self.me(), nowhere)

    one = peer(members=members)
    with observing([one.address], 15) as (watching, _):
        before, began_s = len(asked), time.monotonic()
        watching.reach(0.5)
        assert not watching.reached_at("nowhere")
        assert 0 < len(asked) - before <= 2 + (time.monotonic() - began_s) / ASK_S


def test_one_that_left_is_gone_at_once(peer):
    left = Member(Identity("left", 1), Liveness(0, "left"))
    one = peer(members=lambda self: (self.me(), left))
    with observing([one.address], 15) as (watching, _):
        assert [member.agent for member in watching.gone()] == ["left"]


def test_agents_are_asked_on_while_metrics_compile_and_so_stay_until_their_vectors_were_taken(
    peer, monkeypatch, tmp_path
):
    """It may take longer than the time for which they stay for nobody."""
    asked: list[int] = []

    def compiled(*_: object) -> None:
        before, deadline_s = len(asked), time.monotonic() + 60
        while len(asked) < before + 5:
            assert time.monotonic() < deadline_s, "nobody asks meanwhile"
            time.sleep(0.01)

    def members(self):
        asked.append(1)
        return (self.me(),)

    monkeypatch.setattr(evaluation, "judge_of", compiled)
    one = peer(pieces=pieces_of(np.zeros(4, np.float32)), members=members)
    assert run_command(["consensus", "--join", one.address, "--out", str(tmp_path / "x.safetensors")]) == 0


def test_an_agent_of_another_run_is_left_out_with_a_line_until_it_is_of_ours(peer, caplog):
    """A swarm may have ended, and another have begun at its address."""
    stranger = Member(Identity("stranger", 1), Liveness(1, "training"))
    other = peer(agent="other", run="second", members=lambda self: (self.me(), stranger))
    one = peer(run="first", members=lambda self: (self.me(), other.me()))
    with observing([one.address], 15) as (watching, welcome):
        watching.reach(0.5)
        assert welcome.run == "first" and not watching.reached_at("other") and not watching.reached_at("stranger")
        assert "stranger" not in {member.agent for member in (*watching.alive(), *watching.gone())}
        (line,) = (message for message in caplog.messages if "left out" in message)
        assert line.startswith(other.address) and "'second'" in line and "'first'" in line
        other.run = "first"
        watching.reach(15)
        assert watching.reached_at("other")
        while "stranger" not in {member.agent for member in watching.alive()}:
            watching.refresh(15)


@pytest.mark.parametrize("runs", [("", "first"), ("first", "")])
def test_an_agent_that_has_yet_to_learn_its_run_is_none_of_another(peer, runs, caplog):
    other = peer(agent="other", run=runs[1])
    one = peer(run=runs[0], members=lambda self: (self.me(), other.me()))
    with observing([one.address], 15) as (watching, _):
        watching.reach(15)
        assert watching.reached_at("other") and not any("left out" in message for message in caplog.messages)
