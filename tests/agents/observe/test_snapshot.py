"""What one who watches makes of records, sketches and links, whoever sends them."""

from dataclasses import replace

import numpy as np
import pytest

from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.distances import Estimate
from agents.mixing.sketch import BUCKETS, pack
from agents.observe import snapshot as seen
from agents.observe.layers import MOST_LAYERS
from agents.observe.records import MOST_REFUSALS
from agents.observe.seen import REFUSED
from agents.observe.watching import Watching
from transport.credentials import Credentials
from transport.keys import new_key
from transport.messages import Identity, Links, Liveness, Member, Report, Sketch, Welcome
from transport.signing import Signer

WELCOME = Welcome(5, "a", 1, "run", "manifest")


def values(seed):
    return np.random.default_rng(seed).standard_normal(BUCKETS).astype(np.float32)


def sketch(agent, step=8, still=False, seed=0, **fields):
    return Sketch(agent, 1, step, still, payload=pack(values(seed)), **fields)


def member(name, state="training", age_s=0.0, gone=False, **report):
    return Member(Identity(name, 1), Liveness(1, state, age_s, gone), Report(**{"step": 8, "loss": 0.5, **report}))


@pytest.fixture
def watch():
    made = Watching(["tcp://127.0.0.1:9"], None)
    yield made
    made.close()


def knows(watch, *members):
    watch.observer._members.receive(members, 0.0, verdicts=True)
    watch.observer.alive = lambda: [each for each in members if each.state != "left" and not each.liveness.gone]
    watch.observer.gone = lambda: [each for each in members if each.state == "left" or each.liveness.gone]
    watch.observer.silent_s = lambda agent: next(m.liveness.silent_s for m in members if m.agent == agent)


def test_what_an_agent_sends_of_itself_precedes_what_others_pass_on(watch):
    knows(watch, member("a"), member("b"))
    watch._take(sketch("b", 16, seed=1), WELCOME)
    watch._take(sketch("b", 24, seed=2), replace(WELCOME, agent="b"))
    watch._take(sketch("b", 32, seed=3), WELCOME)
    watch._take(sketch("a", 24, seed=4), WELCOME)
    assert watch.course()[0][0] == 24
    expected = np.linalg.norm(values(2).astype(float) - values(4)) / 2
    assert watch.estimate().distance == pytest.approx(expected)


def test_the_course_is_kept_while_agents_train(watch):
    knows(watch, member("a"), member("b"))
    for step in (8, 16, 24, 32, 40, 48):
        for agent in "ab":
            watch._take(sketch(agent, step, seed=step + ord(agent)), replace(WELCOME, agent=agent))
        watch.course()
    assert [step for step, _ in watch.course()] == [8, 16, 24, 32, 40, 48]
    for agent in "ab":
        watch._take(sketch(agent, 48, still=True), replace(WELCOME, agent=agent))
    assert watch.course() == []


def test_values_that_are_none_are_left_out(watch):
    knows(watch, member("a"), member("b"))
    watch._take(sketch("a"), WELCOME)
    watch._take(Sketch("b", 1, 8, payload=pack(np.full(BUCKETS, np.inf, np.float32))), WELCOME)
    watch._take(Sketch("b", 1, 8, payload=b"short"), WELCOME)
    assert watch.estimate() is None


@pytest.mark.parametrize("weight", [0.0, -1.0, 2 * MAX_WEIGHT, 1e308])
def test_an_agent_that_weighs_what_no_exchange_takes_is_not_compared(watch, weight):
    knows(watch, *(member(agent, weight=1.0) for agent in "ab"), member("c", weight=weight))
    for agent in "abc":
        watch._take(sketch(agent, seed=ord(agent)), replace(WELCOME, agent=agent))
    assert watch.estimate().agents == ("a", "b")
    assert len(watch.course()) == 1 and np.isfinite(watch.course()[0][1])


def test_where_agents_have_keys_what_is_passed_on_must_be_signed():
    key = new_key()
    signing = Signer(Credentials(key), "manifest")
    watch = Watching(["tcp://127.0.0.1:9"], Credentials(new_key()))
    b = member("b")
    knows(watch, member("a"), replace(b, identity=replace(b.identity, key=key.public)))
    watch._take(sketch("a"), WELCOME)
    watch._take(sketch("b"), WELCOME)
    assert watch.estimate() is None
    watch._take(signing.sketched(sketch("b", seed=1), "run"), WELCOME)
    assert watch.estimate().agents == ("a", "b")
    watch.close()


def test_one_of_an_earlier_start_or_of_one_that_is_gone_counts_no_more(watch):
    knows(watch, member("a"), member("b", gone=True), replace(member("c"), identity=Identity("c", 2)))
    for agent in "abc":
        watch._take(sketch(agent), replace(WELCOME, agent=agent))
    assert watch.estimate() is None


@pytest.mark.parametrize(
    ("of", "state"),
    [
        (member("a"), "training"),
        (member("a", age_s=9.0), "silent"),
        (member("a", gone=True), "dead"),
        (member("a", "left"), "left"),
        (member("a", stalled_s=20.0), "stalled"),
        (member("a", "settling", stalled_s=20.0), "settling"),
    ],
)
def test_an_agent_that_is_dead_or_silent_is_never_called_training(watch, of, state):
    knows(watch, of)
    shown = seen.snapshot(watch, WELCOME)
    assert [each.state for each in shown.agents] == [state]
    assert shown.count("training") == (state == "training")
    kinds = {"dead": [seen.DEAD], "stalled": [seen.STALLED]}
    assert [alarm.kind for alarm in shown.alarms] == kinds.get(state, [])


def test_who_had_finished_when_a_swarm_ended_has_left_and_who_had_not_is_dead(watch):
    finished = {"step": 8, "steps": 8, "gone": True}
    ended = member("a", "left"), member("b", "settling", **finished), member("c", gone=True, steps=9)
    knows(watch, *ended)
    assert [each.state for each in seen.snapshot(watch, WELCOME).agents] == ["left", "left", "dead"]
    knows(watch, *ended, member("d"))
    assert [each.state for each in seen.snapshot(watch, WELCOME).agents] == ["training", "left", "dead", "dead"]


def test_alarms_of_agents_and_losses_that_are_not_finite(watch):
    knows(watch, member("a", alarm="b is far; c is late"), member("b", loss=1e300))
    assert [(each.kind, each.agent, each.text) for each in seen.snapshot(watch, WELCOME).alarms] == [
        (seen.REPORTED, "a", "b is far"),
        (seen.REPORTED, "a", "c is late"),
        (seen.DIVERGED, "b", "its loss is not finite"),
    ]


def test_one_far_from_the_rest_is_named_and_none_where_all_agree_but_for_rounding():
    sketches = np.tile(values(0).astype(np.float64), (4, 1))
    agents = tuple("abcd")
    near = Estimate(agents, sketches, dict(zip(agents, (1e-7, 1e-7, 1e-7, 1e-5), strict=True)), 1.0)
    assert seen.far_from_the_rest(near) == []
    far = near._replace(to_mean=dict(zip(agents, (0.1, 0.1, 0.1, 2.0), strict=True)))
    assert [(alarm.kind, alarm.agent) for alarm in seen.far_from_the_rest(far)] == [(seen.FAR_AWAY, "d")]
    pairs = near._replace(to_mean=dict(zip(agents, (0.0, 0.0, 2.0, 2.0), strict=True)))
    assert seen.far_from_the_rest(pairs) == [], "who trains a subnetwork alone has no distance"


def test_links_are_named_once_by_the_latest_exchange_and_nonsense_is_none(watch):
    knows(watch, member("a"), member("b"))
    watch._take(Links({"b": 3.0}, {"b": 0.5}, {"started": 4, "steps_s": 12.5, "waited": 0.25}), WELCOME)
    watch._take(Links({"a": 1.0, "c": "soon"}, {"a": 0.75, "c": True}, {"started": "x"}), replace(WELCOME, agent="b"))
    shown = seen.snapshot(watch, WELCOME)
    assert [(link.agents, link.rate) for link in shown.links] == [(("a", "b"), 0.75), (("b", "c"), 0.0)]
    assert [(each.started, each.steps_s, each.waited) for each in shown.agents] == [(4, 12.5, 0.25), (None, None, None)]


def test_numbers_beyond_any_count_are_none(watch):
    knows(watch, member("a"), member("b"))
    watch._take(Links({"b": 1e308}, {"b": 1e308}, {"started": -1e308, "steps_s": 1e308, "waited": 1e300}), WELCOME)
    (link,), (one, _) = (shown := seen.snapshot(watch, WELCOME)).links, shown.agents
    assert (link.rate, one.started, one.steps_s, one.waited) == (0.0, None, None, None) and link.age_s < 60


@pytest.mark.parametrize(
    ("course", "slope"),
    [([], None), ([(8, 1.0)], None), ([(8, 1.0), (16, 0.0)], None), ([(8, 1.0), (18, 0.9**10), (28, 0.9**20)], -0.1)],
)
def test_the_slope_is_the_share_by_which_the_distance_changes_in_a_step(course, slope):
    assert seen.slope_of(course) == (slope if slope is None else pytest.approx(slope))


def test_distances_in_layers_are_taken_together_and_what_is_none_is_left_out(watch):
    knows(watch, member("a"), member("b"), member("c", gone=True))
    watch._take(Links(layers={"w": 3.0, "b": 1.0, "x": True, "y" * 97: 1.0, "z": -1.0, "v": 1e200}), WELCOME)
    watch._take(Links(layers={"w": 4, "b": 1.0, "u": "far"}), replace(WELCOME, agent="b"))
    watch._take(Links(layers={"w": 100.0}), replace(WELCOME, agent="c"))
    shown = seen.snapshot(watch, WELCOME)
    assert shown.layers == {"w": pytest.approx(np.sqrt((9 + 16) / 2)), "b": 1.0}
    assert [each.layers for each in shown.agents] == [{"w": 3.0, "b": 1.0}, {"w": 4.0, "b": 1.0}, {}]


def test_names_that_an_agent_makes_up_do_not_displace_those_of_the_others(watch):
    knows(watch, *map(member, "abc"))
    for agent in "ab":
        watch._take(Links(layers={"w": 3.0}), replace(WELCOME, agent=agent))
    watch._take(Links(layers={f"made up {number}": 1.0 for number in range(200)}), replace(WELCOME, agent="c"))
    layers = seen.snapshot(watch, WELCOME).layers
    assert layers["w"] == 3.0 and len(layers) == MOST_LAYERS


def test_who_was_refused_is_an_alarm_the_latest_first_however_many_knock(watch):
    knows(watch, *map(member, "abc"))
    watch._take(Links(refused={"a connection in plaintext": 30.0, "b [red]": True, "c": -1.0}), WELCOME)
    watch._take(Links(refused={"x" * 1000: 4.0}), replace(WELCOME, agent="b"))
    shown = [(each.kind, each.agent, each.text) for each in seen.snapshot(watch, WELCOME).alarms]
    assert shown == [(REFUSED, "b", "x" * 300 + ", 4 s ago"), (REFUSED, "a", "a connection in plaintext, 30 s ago")]
    for agent in "abc":
        made_up = {f"{agent} {number}": float(number) for number in range(60)}
        watch._take(Links(refused=made_up), replace(WELCOME, agent=agent))
    assert len(seen.snapshot(watch, WELCOME).alarms) == MOST_REFUSALS


def test_bytes_by_codec_are_of_each_agent_and_nonsense_is_none(watch):
    knows(watch, member("a"), member("b"))
    watch._take(Links(bytes_by_codec={"float32": 40, "lattice:4": -5, "x": True, "y": 1.5}), WELCOME)
    assert [each.bytes_by_codec for each in seen.snapshot(watch, WELCOME).agents] == [{"float32": 40}, {}]
