"""One exchange's two ends: the tables state by state, and any sequence of events against a plain reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol import session
from agents.protocol.incarnation import Incarnation
from agents.protocol.session import REPEAT_S, WINDOW, IncomingSession, OutgoingSession
from agents.protocol.transitions import INCOMING, OUTGOING, IllegalTransition, Incoming, Outgoing, Step, Turn
from transport.messages import Answer

PEER = Incarnation("peer", 1)


def outgoing(chunks=3, credit=8):
    return OutgoingSession(1, 1, PEER, chunks, 0.5, credit, 0.0)


def take(made, chunk, now=0.0):
    """The chunk's answer came, and was applied."""
    took_s = made.answered(chunk, now)
    assert made.has_applied(chunk, 1.0, 1.0) == (took_s is not None)
    return took_s


def incoming():
    return IncomingSession(1, PEER, 0.0)


def answered(chunks):
    """An incoming session that has answered so many chunks."""
    made = incoming()
    for chunk in range(chunks):
        made.apply(chunk)
        assert made.has_applied(chunk, Answer(1, chunk))
    return made


@pytest.fixture
def taken(monkeypatch):
    """The rows of both tables that were looked up and exist."""
    rows, looked_up = set(), session.looked_up

    def watch(table, state, step):
        after = looked_up(table, state, step)
        rows.add((state, step, after))
        return after

    monkeypatch.setattr(session, "looked_up", watch)
    return rows


# The tables. How each state is reached through the public methods, and what brings about each step.


def offering():
    made = outgoing()
    made.offer(0.0)
    return made


def stopped():
    made = offering()
    assert made.declined(2)
    return made


def over():
    made = offering()
    for chunk in range(3):
        take(made, chunk)
    return made


def finish(made):
    """Answer everything that is open."""
    for chunk in range(3):
        take(made, chunk)


def applying():
    made = answered(1)
    made.apply(1)
    return made


def refusing():
    made = answered(1)
    assert made.refuse("no") is None
    return made


def acknowledged():
    made = answered(1)
    made.complete()
    return made


OUTGOING_STATES = {Outgoing.OFFERING: offering, Outgoing.STOPPED: stopped, Outgoing.OVER: over}
OUTGOING_STEPS = {Step.STOP: OutgoingSession.stop, Step.ABANDON: OutgoingSession.abandon, Step.FINISH: finish}
INCOMING_STATES = {
    Incoming.OPEN: lambda: answered(1),
    Incoming.APPLYING: applying,
    Incoming.REFUSING: refusing,
    Incoming.ACKNOWLEDGED: acknowledged,
}
INCOMING_TURNS = {
    Turn.APPLY: lambda made: made.apply(2),
    Turn.APPLIED: lambda made: made.has_applied(1, Answer(1, 1)),
    Turn.REFUSE: lambda made: made.refuse("no"),
    Turn.ACKNOWLEDGE: IncomingSession.complete,
}
IGNORED = {(Outgoing.OVER, Step.FINISH): "nothing is open that an answer could be to"} | {
    **{(state, Turn.APPLIED): "not the chunk that was being applied" for state in INCOMING_STATES},
    (Incoming.APPLYING, Turn.ACKNOWLEDGE): "an Ack is no answer to what is being applied",
}
"""Steps that no table has because their event is an echo there: the method sees that, and changes nothing."""
ALL = [
    *(((s, t), OUTGOING, OUTGOING_STATES[s], OUTGOING_STEPS[t]) for s in Outgoing for t in Step),
    *(((s, t), INCOMING, INCOMING_STATES[s], INCOMING_TURNS[t]) for s in Incoming for t in Turn),
]


@pytest.mark.parametrize(("row", "table", "reach", "take"), ALL, ids=lambda value: "-".join(
    item.name for item in value) if isinstance(value, tuple) else "")  # fmt: skip
def test_each_step_in_each_state_leads_where_the_table_says_or_nowhere(row, table, reach, take):
    made = reach()
    assert made.state is row[0]
    if row in table:
        take(made)
        assert made.state is table[row]
        return
    if row in IGNORED:
        take(made)
    else:
        with pytest.raises(IllegalTransition, match=f"in state {row[0].name} has no transition {row[1].name}"):
            take(made)
    assert made.state is row[0], "never silently"


def test_every_row_of_the_tables_is_taken_by_public_methods(taken):
    for row, table, reach, take in ALL:
        if row in table:
            take(reach())
    assert {(*row, after) for table in (OUTGOING, INCOMING) for row, after in table.items()} <= taken


@pytest.mark.parametrize(("table", "states", "steps", "first"), [
    (OUTGOING, Outgoing, Step, outgoing().state), (INCOMING, Incoming, Turn, incoming().state)])  # fmt: skip
def test_every_state_is_reachable_and_every_word_of_the_tables_used(table, states, steps, first):
    reached = {first}
    for _ in states:
        reached |= {after for (state, _), after in table.items() if state in reached}
    assert reached == set(states)
    assert {step for _, step in table} == set(steps)


def test_stop_with_nothing_open_is_the_end(taken):
    made = outgoing()
    made.stop()
    assert made.over and not made.whole
    assert taken == {
        (Outgoing.OFFERING, Step.STOP, Outgoing.STOPPED),
        (Outgoing.STOPPED, Step.FINISH, Outgoing.OVER),
    }


# Outgoing, against a reference that remembers everything.

moves = st.lists(
    st.tuples(st.sampled_from(["offer", "answer"] * 4 + ["decline", "repeat", "stop", "credit"]), st.integers(0, 9)),
    max_size=60,
)


@given(st.integers(1, 8), st.integers(1, WINDOW), moves)
def test_outgoing_session_is_a_plain_reference(chunks, credit, plan):
    made, offered, done, gone, halted = outgoing(chunks, credit), [], set(), set(), False
    for now, (move, k) in enumerate(plan, 1):
        open_now = [chunk for chunk in offered if chunk not in done | gone]
        ended = not open_now and (halted or len(offered) == chunks)
        if move == "offer":
            fresh = made.offer(now)
            assert fresh == list(range(len(offered), len(offered) + len(fresh))), "in order, none left out"
            assert not (fresh and (halted or ended))
            offered += fresh
            still = [chunk for chunk in offered if chunk not in done | gone]
            oldest = min(still, default=len(offered))
            room = min(credit - len(still), oldest + credit - len(offered), chunks - len(offered))
            assert halted or room <= 0, "all that credit lets us offer"
            assert not fresh or (len(still) <= credit and offered[-1] < oldest + credit)
        elif move == "answer":
            took_s = take(made, k, now)
            assert (took_s is not None) == (k in open_now)
            if took_s is not None:
                assert took_s >= 0 and made.progress_s == now
                done.add(k)
        elif move == "decline":
            assert made.declined(k) == (k in open_now)
            if k in open_now:
                gone.add(k)
                halted = True
        elif move == "repeat":
            repeated = made.repeat(now, 0.5)
            assert repeated in ([], open_now)
        elif move == "credit":
            made.credit = credit = max(1, k)
        elif ended:
            with pytest.raises(IllegalTransition):
                made.stop()
            return
        else:
            made.stop()
            halted = True
        open_now = [chunk for chunk in offered if chunk not in done | gone]
        assert [chunk for chunk in range(chunks) if made.is_open(chunk)] == open_now
        assert made.acknowledged == min(open_now, default=len(offered))
        assert made.over == (not open_now and (halted or len(offered) == chunks))
        assert made.whole == (not halted)


def test_no_chunk_is_offered_a_window_beyond_the_oldest_open_one():
    """The responder keeps an answer until all before it are acknowledged: it has room for one window of them."""
    made = outgoing(chunks=20, credit=4)
    assert made.offer(0.0) == [0, 1, 2, 3]
    for chunk in (1, 2, 3):
        take(made, chunk)
    assert made.offer(0.0) == []
    take(made, 0)
    assert made.offer(0.0) == [4, 5, 6, 7]


def test_repeats_come_half_as_often_each_time_and_at_least_every_so_often():
    made, times = offering(), []
    for tenth in range(2000):
        if made.repeat(tenth / 10, 1.0):
            times.append(tenth / 10)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert gaps[:5] == pytest.approx([1, 2, 4, 8, 16])
    assert gaps[5:] == pytest.approx([REPEAT_S] * len(gaps[5:]))
    made.repeat_soon()
    assert made.repeat(times[-1] + 1.0, 1.0) == [0, 1, 2]
    take(made, 0, times[-1] + 1.1)
    assert made.repeat(times[-1] + 2.2, 1.0) == [1, 2], "an answer ends the delays"
    assert made.answered(1, times[-1] + 2.5) == pytest.approx(0.3), "timed from when it was offered last"


# Incoming, against a reference that remembers every answer ever given.

arrivals = st.lists(
    st.tuples(st.sampled_from(["offer"] * 5 + ["ack", "refuse", "give up"]), st.integers(0, 20), st.integers(0, 20)),
    max_size=60,
)


@given(arrivals)
def test_incoming_session_applies_each_chunk_once_and_repeats_its_answer_until_it_is_acknowledged(plan):
    made, given_, kept, below, refused, complete = incoming(), {}, {}, 0, False, False
    for number, (move, chunk, acked) in enumerate(plan):
        if move == "ack":
            made.complete()
            kept, complete = {}, True
        elif move == "offer":
            if made.is_echo(chunk):
                assert chunk < below
                continue
            made.acknowledge(min(acked, chunk))
            below = max(below, min(acked, chunk))
            kept = {k: answer for k, answer in kept.items() if k >= below}
            if (answer := made.answer(chunk)) is not None:
                assert answer == given_[chunk]
                continue
            assert made.accepts == (not refused and not complete and len(kept) < WINDOW)
            if made.accepts:
                assert chunk not in given_, "applied twice"
                made.apply(chunk)
                assert made.is_echo(chunk) and made.is_echo(chunk + 1) and not made.accepts and made.applying
                assert not made.has_applied(chunk + 1, Answer(1, chunk + 1))
                given_[chunk] = kept[chunk] = Answer(1, chunk, step=number)
                assert made.has_applied(chunk, given_[chunk])
        elif not complete:
            assert (made.refuse if move == "refuse" else made.give_up)("no") is None
            refused = True
            kept = {} if move == "give up" else kept
        assert {k: made.answer(k) for k in range(21) if made.answer(k) is not None} == kept
        assert made.applied == len(given_)
        assert made.owes == bool(kept) and made.completed == complete
        assert made.under_way == (not refused and not complete)
        assert made.occupied == (made.under_way or made.owes)
        assert len(kept) <= WINDOW


def test_refusal_names_the_chunk_that_was_being_applied():
    made = applying()
    assert made.refuse("not finite") == 1
    assert made.refusal == "not finite"
    assert not made.has_applied(1, Answer(1, 1))
    assert made.answer(0) == Answer(1, 0), "the answers given are still owed"
