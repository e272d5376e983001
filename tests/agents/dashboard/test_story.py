"""What the page is told: nothing without bounds, nothing that isn't JSON, and each point once."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from scenes import scenes

from agents.dashboard.story import LINES, POINTS, TEXT, Models, Point, Scene, Story, metric_of, short
from agents.observe.seen import Alarm, Snapshot


def told(story: Story, after: int = 0) -> tuple[dict, int]:
    """What a page that has seen so many points reads, and how many it has seen then."""
    text, count = story.event(after)
    assert text.startswith(b"data: ") and text.endswith(b"\n\n") and text.count(b"\n") == 2
    return json.loads(text[6:]), count


def test_a_page_gets_each_point_once_and_always_what_is_now():
    story = Story("run", "here")
    first, second, third = scenes(4, 3)
    story.add(first, 0.0)
    page, seen = told(story)
    assert (len(page["points"]), page["now"]["title"], len(page["now"]["agents"])) == (1, "run", 4)
    story.add(second, 0.5)
    story.add(third, 1.0)
    page, seen = told(story, seen)
    assert [point[0] for point in page["points"]] == pytest.approx([20, 30], rel=0.05)
    page, _ = told(story, seen)
    assert page["points"] == [] and page["now"]["distance"] == short(third.snapshot.consensus_distance)


def test_a_swarm_that_stands_still_adds_no_points():
    story = Story("run", "here")
    scene = next(scenes(4, 1))
    for look in range(5):
        story.add(scene, float(look))
    assert len(told(story)[0]["points"]) == 1


def test_the_history_keeps_the_whole_course_in_bounded_room():
    story = Story("run", "here")
    story.begin(["a"], (Point(step, 1.0, [0.5], [], None) for step in range(10 * POINTS)))
    points = told(story)[0]["points"]
    steps = [point[0] for point in points]
    assert len(points) <= POINTS and steps == sorted(steps)
    assert steps[0] == 0 and steps[-1] == 10 * POINTS - 1
    assert max(later - step for step, later in pairwise(steps)) <= 16


def test_numbers_that_are_none_are_null():
    point = Point(1.0, math.inf, [math.nan, 2.0, -math.inf], [], None).plain()
    assert point == [1.0, None, 2.0, [None, 2.0, None], None, [], None]
    json.dumps(point, allow_nan=False)


def test_a_peer_s_name_and_alarm_are_cut_and_stay_text():
    name = '<img src=x onerror="alert(1)">\n\ndata: {}' + "x" * 10_000
    scene = next(scenes(4, 1))
    agents = (replace(scene.snapshot.agents[0], agent=name), *scene.snapshot.agents[1:])
    story = Story("run", "here")
    story.add(replace(scene, snapshot=replace(scene.snapshot, agents=agents)), 0.0)
    names = {agent["name"] for agent in told(story)[0]["now"]["agents"]}
    assert name[:TEXT].replace("\n", "\ufffd") in names


def test_a_large_swarm_has_as_many_lines_as_can_be_seen():
    story = Story("run", "here")
    story.add(next(scenes(LINES + 40, 1)), 0.0)
    page, _ = told(story)
    assert len(page["points"][0][3]) == LINES and len(page["now"]["agents"]) == LINES + 40


def test_edges_join_those_that_are_alive():
    """As the agents lay the topology themselves: a ring closes over one that is gone."""
    story = Story("run", "here")
    for look, scene in enumerate(scenes(5, 10, dead=frozenset({2}))):
        story.add(scene, float(look))
    edges = {tuple(edge) for edge in told(story)[0]["now"]["edges"]}
    assert edges == {(0, 1), (1, 3), (3, 4), (0, 4)}


def test_what_a_later_version_says_of_its_topology_leaves_the_edges_on_which_agents_exchanged():
    story = Story("run", "here")
    scene = next(scenes(3, 1))
    story.add(replace(scene, settings={"topology": "moebius:3", "alpha": "half", "seed": None}), 0.0)
    now = told(story)[0]["now"]
    assert now["edges"] == [[0, 1], [1, 2], [2, 0]] and len(now["agents"]) == 3
    assert now["predicted"] == short(scene.snapshot.predicted_slope)


def test_an_empty_swarm_is_shown_as_such():
    story = Story("run", "here")
    story.add(Scene(Snapshot("run", 10, ()), lost=True), 0.0)
    now = told(story)[0]["now"]
    assert now["agents"] == [] and now["lost"] and now["step"] == 0


def test_rates_follow_what_is_counted_and_survive_a_restart():
    story = Story("run", "here")
    scene = next(scenes(2, 1))

    def at(exchanges: int, now_s: float) -> float:
        agents = tuple(replace(agent, exchanges=exchanges) for agent in scene.snapshot.agents)
        story.add(replace(scene, snapshot=replace(scene.snapshot, agents=agents)), now_s)
        return float(told(story)[0]["now"]["exchanges_s"])

    rates = [at(10 * second, float(second)) for second in range(30)]
    assert rates[-1] == pytest.approx(10, rel=0.01)
    assert at(0, 30.0) < rates[-1] and at(0, 31.0) >= 0


def test_layers_are_those_of_the_models_where_they_are_pulled_else_as_exchanges_find():
    story = Story("run", "here")
    scene = next(scenes(2, 1))
    first, second = scene.snapshot.agents
    agents = replace(first, layers={"w": 3.0, "b": 1.0}), replace(second, layers={"w": 4.0})
    scene = replace(scene, snapshot=replace(scene.snapshot, agents=agents))
    story.add(scene, 0.0)
    assert told(story)[0]["now"]["models"]["step"] == scene.models.step
    story.add(replace(scene, models=None), 0.5)
    now = told(story)[0]["now"]
    assert now["models"]["layers"] == [["w", [3.0, 4.0]], ["b", [1.0, None]]] and now["models"]["step"] is None
    story.add(replace(scene, models=Models(metrics={"loss": 1.0})), 1.0)
    assert told(story)[0]["now"]["models"]["agents"] == ["agent-0", "agent-1"]


def test_what_agents_measure_of_their_own_models_is_shown_where_nobody_pulls_them():
    story = Story("run", "here")
    scene = replace(next(scenes(3, 1)), models=None)
    scores = (0.5, None, 0.75)
    judged = zip(scene.snapshot.agents, scores, strict=True)
    agents = tuple(replace(agent, metric="accuracy" if score else "", score=score) for agent, score in judged)
    story.add(replace(scene, snapshot=replace(scene.snapshot, agents=agents)), 0.0)
    page = told(story)[0]
    assert page["now"]["metric"] == "accuracy"
    assert [agent["score"] for agent in page["now"]["agents"]] == [0.5, None, 0.75]


def test_accuracy_is_preferred_then_anything_but_the_loss():
    assert metric_of(Models(metrics={"loss": 1, "top5": 1, "accuracy": 1}), {}) == "accuracy"
    assert metric_of(Models(metrics={"loss": 1, "perplexity": 1}), {}) == "perplexity"
    assert metric_of(Models(), {"a": {"loss": 1.0}}) == metric_of(None, {"a": {"loss": 1.0}}) == "loss"
    assert metric_of(Models(), {}) == metric_of(None, {}) == ""


def test_the_course_goes_on_where_an_agent_joins_later_or_who_is_ahead_has_gone():
    story = Story("run", "here")
    scene = next(scenes(3, 1))
    for look, steps in enumerate([(100, 110, 120), (130, 140, 0), (200, 90, 1), (150, 91, 2), (201, 92, 3)]):
        stepped = zip(scene.snapshot.agents, steps, strict=True)
        agents = tuple(replace(agent, step=step) for agent, step in stepped)
        story.add(replace(scene, snapshot=replace(scene.snapshot, agents=agents)), float(look))
    assert [point[0] for point in told(story)[0]["points"]] == [120, 140, 200, 201]


def test_the_mean_is_that_of_all_who_are_there_however_many_had_a_line_before():
    story = Story("run", "here")
    before, later = next(scenes(LINES, 1)), next(scenes(LINES, 1))
    story.add(before, 0.0)
    agents = tuple(
        replace(agent, agent=f"later-{number}", loss=2.0, metric="accuracy", score=0.5)
        for number, agent in enumerate(later.snapshot.agents)
    )
    story.add(replace(later, snapshot=replace(later.snapshot, agents=agents), models=None), 0.5)
    last = told(story)[0]["points"][-1]
    assert last[2] == 2.0 and last[4] == 0.5 and set(last[3]) == {None}


def test_what_is_not_printable_of_a_peer_s_texts_is_a_mark_on_the_page():
    turned = "\u202eevil\u2066\u2028" + "x" * 2 * TEXT
    scene = next(scenes(2, 1))
    texts = {"agent": turned, "state": turned, "codec": turned, "metric": turned, "score": 1.0, "shard": turned}
    one = replace(scene.snapshot.agents[0], **texts, layers={turned: 1.0}, bytes_by_codec={turned: 1})
    alarms = (Alarm("reported", turned, turned),)
    snapshot = replace(scene.snapshot, agents=(one,), run=turned, links=(), alarms=alarms)
    story = Story(turned, "here")
    story.add(Scene(snapshot, {"task": turned, "topology": turned}), 0.0)
    now = told(story)[0]["now"]
    assert now["agents"][0]["name"].startswith("\ufffdevil\ufffd\ufffdx")

    def texts_in(value):
        match value:
            case str():
                yield value
            case list():
                yield from (text for each in value for text in texts_in(each))
            case dict():
                yield from (text for pair in value.items() for each in pair for text in texts_in(each))

    assert all(text.isprintable() and len(text) <= TEXT for text in texts_in(now))
