"""Laws of the asynchronous sources: who exchanges with whom, when, and what it does to the mean."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain import run_blocks

from agents.mixing.exchange import rate
from sim.conditions import Conditions, ConditionsError, delay_of
from sim.sources.exchange import Exchange, waiting
from sim.sources.messages import Messages
from sim.sources.neighbors import names
from sim.sources.push import Push
from sim.sources.push_sum import PushSum
from sim.tape import ADOPT, MIX, TRAIN
from topology import complete, named, ring, select

N = 8


def start(seed=0, agents=N, size=3):
    return list(np.random.default_rng(seed).normal(size=(agents, size)))


SOURCES = {"exchange": Exchange, "push": Push, "push-sum": PushSum}


def blocks_of(protocol, conditions, rounds=12.0, window=4.0, topology=None, moments=(), **settings):
    network = topology or complete(conditions.agents)
    source = SOURCES[protocol](network, conditions, message_bytes=100, **settings)
    return source, list(source.blocks(rounds, np.array(moments, float), window))


def nudge(vector, agent, step):
    return vector + 0.01 * np.cos(np.arange(vector.size) + agent + step)


ROUGH = st.fixed_dictionaries(
    {
        "clock": st.sampled_from(["periodic", "poisson"]),
        "delay": st.sampled_from([0.0, 0.4, (0.0, 2.5), "lognormal:0.3:1", "bandwidth:200"]),
        "drop": st.sampled_from([0.0, 0.3]),
        "online": st.sampled_from([1.0, 0.6]),
        "session": st.just(3.0),
        "speeds": st.sampled_from([1.0, [0.5 + 0.4 * k for k in range(N)]]),
        "split": st.sampled_from([None, (2.0, 6.0, [0, 1] * (N // 2))]),
    }
)


@given(st.integers(0, 1000), ROUGH, st.sampled_from(["exchange", "push", "push-sum"]), st.booleans())
@example(389, {"delay": (0.0, 2.5)}, "exchange", False)  # A second offer while the peer's first one is still under way.
@settings(max_examples=150)
def test_the_same_seed_gives_the_same_run_whatever_the_window(seed, rough, protocol, trains):
    """Invariant 4."""
    settings = {"local_steps": int(trains)} | ({} if protocol == "push-sum" else {"alpha": 0.6})
    ends = []
    for window in (1.0, 3.0, 12.0):
        _, blocks = blocks_of(protocol, Conditions(N, seed, **rough), window=window, moments=[0, 2.5, 12], **settings)
        final, taken, _ = run_blocks(blocks, start(), nudge)
        ends.append((final, taken))
    for final, taken in ends[1:]:
        np.testing.assert_allclose(final, ends[0][0], rtol=1e-6)
        np.testing.assert_allclose(taken, ends[0][1], rtol=1e-6)


@given(st.integers(0, 1000), ROUGH, st.floats(0, 1), st.booleans())
@settings(max_examples=60)
def test_exchanges_are_zero_sum_through_delay_loss_churn_and_weights(seed, rough, alpha, weighted):
    """Invariant 1. What a responder has given and its initiator has not taken yet is on its way."""
    weights = np.random.default_rng(seed).uniform(0.2, 3, N) if weighted else np.ones(N)
    settings = {"alpha": alpha, "local_steps": 0, "weights": weights if weighted else None}
    source, blocks = blocks_of("exchange", Conditions(N, seed, **rough), **settings)
    final, _, left = run_blocks(blocks, start())
    total = weights @ final
    flying = source.in_flight
    for i, j, read, before, damping in zip(
        flying.sender, flying.receiver, flying.read, flying.before, flying.damping, strict=True
    ):
        if before >= 0:
            total += weights[i] * rate(alpha, weights[i], weights[j], damping) * (left[before] - left[read])
    np.testing.assert_allclose(total, weights @ np.array(start()), rtol=1e-5, atol=1e-5)


def test_without_delay_the_mean_stays_at_every_moment():
    _, blocks = blocks_of("exchange", Conditions(N), moments=np.arange(0, 12, 0.5), local_steps=0)
    _, taken, _ = run_blocks(blocks, start())
    np.testing.assert_allclose(taken.mean(1), np.tile(np.mean(start(), 0), (24, 1)), atol=1e-7)


def test_push_sum_finds_the_mean_and_push_does_not():
    """Kempe et al. 2003."""
    mean = np.mean(start(), 0)
    for protocol, close in (("push-sum", True), ("push", False)):
        _, blocks = blocks_of(protocol, Conditions(N, delay=(0, 0.3)), rounds=80.0, local_steps=0)
        final, _, _ = run_blocks(blocks, start())
        assert np.abs(final - final[0]).max() < 1e-4
        assert (np.abs(final - mean).max() < 1e-4) == close


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_older_models_weigh_more_where_ages_count(seed):
    """Ormandi et al. 2013; the reference counts ages event by event. Who joins late has a model of its donor's age."""
    conditions = Conditions(N, seed, delay=(0, 1), joins={3: 5.0, 6: 7.5})
    _, blocks = blocks_of("push", conditions, window=3.0, local_steps=2, by_age=True)
    ages = [0] * N
    for block in blocks:
        tape = block.tape
        for e in range(len(tape)):
            mine, theirs = ages[tape.cur[e]], ages[tape.b[e]]
            if tape.kind[e] == MIX:
                expected = theirs / (mine + theirs) if mine + theirs else 0.5
                assert tape.coefficient[e] == pytest.approx(expected)
                ages.append(max(mine, theirs))
            elif tape.kind[e] == ADOPT:
                assert tape.coefficient[e] == 1
                ages.append(theirs)
            else:
                ages.append(mine + 2)
        ages = [ages[v] for v in tape.leaving]


@pytest.mark.parametrize(("merge", "first"), [("merge-update", MIX), ("update-merge", TRAIN)])
def test_push_merges_and_trains_in_the_order_asked_for(merge, first):
    _, blocks = blocks_of("push", Conditions(N), merge=merge)
    kinds = np.concatenate([block.tape.kind for block in blocks])
    assert (kinds[::2] == first).all() and (kinds[1::2] != first).all()


def test_neighbors_are_those_a_live_agent_would_select():
    graph = named("regular:4", 12, 3)
    _, (block,) = blocks_of("exchange", Conditions(12, 5), 6.0, 6.0, graph, local_steps=0)
    who, turns = names(12), dict.fromkeys(range(12), 0)
    for agent, peer in zip(block.tape.agent[1::2], block.tape.peer[1::2], strict=True):
        turns[agent] += 1  # live agents count their rounds from 1
        assert peer == select(5, who[agent], turns[agent], graph.neighbors(agent))


def test_poisson_clocks_have_the_right_rate():
    """4 standard deviations: a false alarm once in 15,000 seeds."""
    _, blocks = blocks_of("push-sum", Conditions(200, 1, clock="poisson", speeds=2.0), 20.0, 20.0, ring(200))
    turns = sum(int((block.tape.kind == TRAIN).sum()) for block in blocks)
    assert abs(turns - 8000) < 4 * np.sqrt(8000)


def test_the_share_of_messages_lost_is_what_was_asked_for():
    """4 standard deviations."""
    _, blocks = blocks_of("push", Conditions(200, 1, drop=0.3), 50.0, 50.0, ring(200), [50])
    taken, sent = int(blocks[-1].exchanges[-1]), int(blocks[-1].messages[-1])
    assert sent == 10_000
    assert abs(taken - 7000) < 4 * np.sqrt(10_000 * 0.3 * 0.7)


def test_who_is_offline_neither_acts_nor_receives():
    conditions = Conditions(40, 2, online=0.5, session=5)
    _, blocks = blocks_of("push-sum", conditions, 30.0, 30.0)
    for block in blocks:
        assert conditions.is_online(block.tape.agent, block.tape.time).all()
    assert sum(len(block.tape) for block in blocks) > 500


@pytest.mark.parametrize("delay", [0.0, 20.0])
def test_who_is_offline_at_its_turn_begins_nothing_and_takes_the_next_one(delay):
    """Agents' first turns are those of their clocks, whatever an exchange that they did not begin would have taken."""
    conditions = Conditions(60, 1, online=0.5, session=10.0, delay=delay)
    _, blocks = blocks_of("exchange", conditions, 12.0)
    tape = [event for b in blocks for event in zip(b.tape.agent, b.tape.time, b.tape.kind == TRAIN, strict=True)]
    for agent, first in enumerate(conditions.first_turns()):
        clock = first + np.arange(12)
        there = clock[conditions.is_online(np.full(12, agent), clock)]
        assert min(time for who, time, trains in tape if who == agent and trains) == pytest.approx(there[0])


def test_a_late_joiner_starts_from_the_model_of_one_who_is_there():
    _, blocks = blocks_of("exchange", Conditions(N, joins={3: 5.0}))
    events = [
        e for block in blocks for e in zip(block.tape.agent, block.tape.time, block.tape.coefficient, strict=True)
    ]
    mine = [(time, coefficient) for agent, time, coefficient in events if agent == 3]
    assert mine[0] == (5.0, 1.0)


def test_a_split_keeps_groups_apart_until_it_heals():
    groups = [0] * 4 + [1] * 4
    _, blocks = blocks_of(
        "exchange", Conditions(N, split=(0.0, 30.0, groups)), 60.0, 10.0, moments=[29, 60], local_steps=0
    )
    _, (apart, healed), _ = run_blocks(blocks, start())
    for group in (slice(4), slice(4, 8)):
        np.testing.assert_allclose(apart[group], np.tile(np.mean(start()[group], 0), (4, 1)), atol=1e-4)
    np.testing.assert_allclose(healed, np.tile(np.mean(start(), 0), (N, 1)), atol=1e-4)


def test_nobody_begins_an_exchange_before_the_last_one_is_over_and_crossed_offers_are_mixed_once():
    conditions = Conditions(6, 4, delay=(0.2, 1.5))
    source = Exchange(complete(6), conditions)
    begun = []
    inner = source.declined
    source.declined = lambda messages: begun.append((messages, declined := inner(messages))) or declined
    list(source.blocks(40.0, np.array([]), 40.0))
    messages, declined = begun[0]
    kept = messages.where(~declined)
    for agent in range(6):
        mine = messages.sender == agent
        order = np.argsort(messages.sent[mine])
        assert (messages.sent[mine][order][1:] >= messages.returns[mine][order][:-1] - 1e-9).all()
    assert declined.any()
    for k in range(len(kept.sender)):
        back = (kept.sender == kept.receiver[k]) & (kept.receiver == kept.sender[k])
        assert not (back & (kept.sent < kept.arrives[k]) & (kept.sent[k] < kept.arrives)).any()
    pairs = zip(messages.sender[declined], messages.receiver[declined], strict=True)
    assert all(sender > receiver for sender, receiver in pairs)


@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(2, 5))
def test_who_waits_for_an_answer_is_who_has_sent_and_not_heard(seed, count, agents):
    """Against a loop; no two messages of one agent are under way at once."""
    random = np.random.default_rng(seed)
    free = np.zeros(agents)
    rows = []
    for sender in random.integers(0, agents, count):
        sent = free[sender] + random.uniform(0, 1)
        arrives, back = sent + random.uniform(0, 1), random.uniform(0, 1)
        free[sender] = arrives + back
        receiver = (sender + random.integers(1, agents)) % agents
        rows.append((sender, receiver, sent, arrives, arrives + back, -1, -1, 1.0))
    columns = np.array(rows).reshape(-1, 8).T
    messages = Messages(*(column.astype(int) for column in columns[:2]), *columns[2:])
    expected = [
        any(
            messages.sender[own] == messages.receiver[k]
            and messages.receiver[own] != messages.sender[k]
            and messages.sent[own] <= messages.arrives[k] < messages.returns[own]
            for own in range(count)
        )
        for k in range(count)
    ]
    assert waiting(messages, *np.full((3, agents), -np.inf)).tolist() == expected
    half = messages.sent < np.median(messages.sent) if count else np.zeros(0, bool)
    ends = np.full((3, agents), -np.inf)
    for k in np.flatnonzero(half):
        if messages.sent[k] > ends[0, messages.sender[k]]:
            ends[:, messages.sender[k]] = messages.sent[k], messages.returns[k], messages.receiver[k]
    late = messages.where(~half & (messages.arrives > (np.median(messages.sent) if count else 0)))
    found = waiting(late, *ends)
    assert found.tolist() == [e for e, goes in zip(expected, ~half, strict=True) if goes]


def test_exchanges_that_overlap_do_not_keep_agents_apart():
    """Theory 30: with messages that take a round each way, 12 agents agree; at full rates they are slower by far."""
    conditions = Conditions(12, 3, delay=1.0)
    _, blocks = blocks_of("exchange", conditions, rounds=40.0, local_steps=0)
    final, _, _ = run_blocks(blocks, begun := start(agents=12))
    assert np.std(final, axis=0).max() < 1e-3 * np.std(begun, axis=0).max()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"clock": "sundial"}, "clock is one of periodic, poisson: got 'sundial'"),
        ({"drop": 1.0}, r"drop is a share in \[0, 1\): got 1.0"),
        ({"online": 0}, r"online is a share in \(0, 1\]: got 0"),
        ({"session": 0}, "session is a length in rounds"),
        ({"speeds": [1, 2]}, "speeds are turns a round above 0, one number or 8"),
        ({"speeds": 0}, "speeds are turns a round above 0"),
        ({"joins": {9: 1.0}}, "joins is"),
        ({"joins": {k: 1.0 for k in range(N)}}, "joins must leave an agent that is there .*: got all 8"),
        ({"split": (1, 2, [0])}, "split is"),
        ({"delay": -1}, "delay is a number of rounds"),
        ({"delay": (2, 1)}, "delay is a number of rounds"),
        ({"delay": "lognormal:1"}, "delay is a number of rounds"),
        ({"delay": "pareto:1:2"}, "got 'pareto:1:2'"),
    ],
)
def test_conditions_that_cannot_be_are_refused(wrong, what):
    with pytest.raises(ConditionsError, match=what):
        Conditions(N, **wrong)


def test_delays_have_their_distributions():
    """Within 4 standard errors of 40,000 draws."""
    uniforms = np.random.default_rng(0).random(40_000)
    assert delay_of(0.3, 1)(lambda: uniforms, 5).tolist() == [0.3] * 5
    assert delay_of("bandwidth:50", 100)(lambda: uniforms, 2).tolist() == [2, 2]
    low = delay_of((1, 3), 1)(lambda: uniforms, 40_000)
    assert abs(low.mean() - 2) < 4 * 2 / np.sqrt(12 * 40_000)
    logs = np.log(delay_of("lognormal:0.5:0.8", 1)(lambda: uniforms, 40_000))
    assert abs(logs.mean() - np.log(0.5)) < 4 * 0.8 / 200 and abs(logs.std() - 0.8) < 4 * 0.8 / np.sqrt(80_000)
