"""The account of each peer: quarantine of who is far and stays so, its end, and a bound on who offers too often."""

import pytest

from agents.protocol.finish_plan import tag
from agents.protocol.ledger import (
    ACCUSERS,
    AGAIN,
    BURST,
    LONGEST_S,
    MANY,
    MAX_ALARMS,
    MAX_PEERS,
    QUARANTINE_S,
    Ledger,
    accused,
)
from transport.messages import AgentId, Identity, Member, Report

FARAWAY = (100.0, 0.01)
USUAL = (1.0, 1.0)


def after(*exchanges, ledger=None, now=0.0):
    ledger = ledger or Ledger()
    notices = [notice for each in exchanges for notice in ledger.completed("a", *each, now)]
    return ledger, notices


def test_a_peer_that_is_far_and_comes_no_nearer_is_in_quarantine_and_told_so():
    ledger, notices = after(*[FARAWAY] * (MANY - 1))
    assert not notices and not ledger.quarantined(["a", "b"], 0.0) and not ledger.objection("a", 0.0)
    ledger, (notice,) = after(FARAWAY, ledger=ledger)
    assert ledger.quarantined(["a", "b"], 0.0) == {"a"} and ledger.distrusted == ("a",)
    assert "far from us" in notice.text and "far from us" in ledger.objection("a", 1.0)
    assert ledger.alarms(1.0) == ("a is far from us (by 100, clipped to 1.00%) and came no nearer",)
    assert not ledger.objection("b", 1.0)


def test_far_exchanges_among_others_count_as_well():
    _, notices = after(*[FARAWAY, USUAL] * MANY)
    assert len(notices) == 1


def test_who_was_cut_off_for_long_and_comes_nearer_is_welcome():
    _, notices = after(*[(100 * 0.95**k, 0.01 / 0.95**k) for k in range(60)])
    assert not notices


def test_exchanges_that_are_clipped_a_little_are_no_offense():
    ledger, notices = after(*[(2.0, 0.6)] * 100)
    assert not notices and ledger.of("a").clipped == 100 == ledger.of("a").accepted


def test_quarantine_ends_lasts_twice_as_long_each_time_and_has_a_limit():
    ledger, now, lasts_s = Ledger(), 0.0, QUARANTINE_S
    for start in range(12):
        after(*[FARAWAY] * (AGAIN if start else MANY), ledger=ledger, now=now)
        assert ledger.quarantined(["a"], now + lasts_s - 1) and not ledger.quarantined(["a"], now + lasts_s)
        now += lasts_s
        lasts_s = min(LONGEST_S, 2 * lasts_s)
    assert lasts_s == LONGEST_S
    after(USUAL, ledger=ledger, now=now)
    assert ledger.distrusted == (), "trusted again after an exchange like others'"


def test_what_cannot_be_applied_counts_as_far():
    ledger = Ledger()
    notices = [notice for _ in range(MANY) for notice in ledger.rejects("a", "NaN" * 1000, 0.0)]
    assert len(notices) == 1 and len(notices[0].text) < 400
    assert ledger.of("a").rejected == MANY


def test_an_agent_is_answered_in_proportion_to_what_we_begin():
    ledger, answered = Ledger(), 0
    for _ in range(1000):  # Ten offers to each exchange of our own.
        ledger.begins()
        for _ in range(10):
            if not ledger.objection("a", 0.0):
                ledger.answers("a")
                answered += 1
        ledger.answers("b")
    assert 1000 - BURST <= answered <= 1100, "a burst more whenever counts are halved"
    assert ledger.of("a").limited and any("more often" in alarm for alarm in ledger.alarms(0.0))


def test_fast_neighbors_of_a_slow_agent_are_all_answered():
    """None offers more often than the others."""
    ledger = Ledger()
    for k in range(2000):
        for peer in "abc":
            assert not ledger.objection(peer, 0.0)
            ledger.answers(peer)
        if k % 20 == 0:
            ledger.begins()


def test_the_only_peer_is_answered_whatever_its_rate():
    ledger = Ledger()
    for _ in range(1000):
        assert not ledger.objection("a", 0.0)
        ledger.answers("a")


def test_accounts_and_alarms_are_bounded():
    ledger = Ledger()
    for i in range(MAX_PEERS + 100):
        ledger.rejects(f"{i}", "odd", float(i))
    assert len(ledger.accounts) == MAX_PEERS
    assert len(ledger.alarms(float(MAX_PEERS))) == MAX_ALARMS == len({*ledger.alarms(float(MAX_PEERS))})
    assert ledger.alarms(1e9) == ()


@pytest.mark.parametrize("scale", [1.0, 0.7, 0.01])
def test_nothing_is_said_of_a_single_exchange(scale):
    assert after((1.0, scale))[1] == []


def test_once_we_train_no_more_whoever_was_in_quarantine_stays_there():
    """What it does between our last step and the finish, no step mends."""
    ledger, _ = after(*[FARAWAY] * MANY)
    assert not ledger.objection("a", QUARANTINE_S) and not ledger.quarantined(["a"], QUARANTINE_S)
    after(USUAL, ledger=ledger, now=QUARANTINE_S)
    ledger.trained = True
    assert ledger.objection("a", QUARANTINE_S) == "it was in quarantine, and we train no more"
    assert ledger.quarantined(["a", "b"], QUARANTINE_S) == {"a"} and not ledger.objection("b", QUARANTINE_S)


def member(name, *distrusts):
    return Member(Identity(AgentId(name), 1), report=Report(distrusts=" ".join(map(tag, distrusts))))


def test_of_whom_several_distrust_one_far_exchange_is_enough():
    ledger = Ledger()
    ledger.accused = accused([member("b", "a"), member("c", "a")], "me")
    _, notices = after(USUAL, ledger=ledger)
    assert not notices and not ledger.quarantined(["a"], 0.0), "what others say alone is not enough"
    _, notices = after(FARAWAY, ledger=ledger)
    assert len(notices) == 1 and ledger.quarantined(["a", "b"], 0.0) == {"a"}


def test_of_whom_several_distrust_nothing_is_taken_once_we_train_no_more():
    ledger = Ledger()
    ledger.accused = accused([member("b", "a"), member("c", "a")], "me")
    assert not ledger.objection("a", 0.0)
    ledger.trained = True
    assert ledger.objection("a", 0.0) and ledger.quarantined(["a", "b"], 0.0) == {"a"}


def test_a_single_agent_accuses_nobody_however_often_it_says_so():
    assert ACCUSERS == 2
    assert not accused([member("b", "a", "a", "c"), member("c", "d")], "me")
    assert accused([member("b", "a"), member("a", "a"), member("c", "b")], "me") == frozenset(), (
        "nor does one of itself"
    )
    assert accused([member("b", "a", "d"), member("c", "a"), member("a", "d")], "me") == {tag("a"), tag("d")}


def test_who_distrusts_us_is_not_believed_about_others():
    """Two that lie together, and accuse all: each honest agent knows that they lie."""
    liars = [member("b", "a", "me", "d"), member("c", "a", "me", "d")]
    assert accused(liars, "me") == frozenset()
    assert accused(liars, "e") == {tag("a"), tag("me"), tag("d")}, "one that they spare can't know it"
