"""The folder of a run as the page shows it: its whole course, its layers, and what its card says."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents import checkpoint
from agents.checkpoint import Checkpoint
from agents.dashboard.past import MOMENTS, Past, points
from agents.dashboard.story import Story
from agents.observe.metrics_lines import Line

SHAPES = [("hidden", (2, 3)), ("output", (2,))]


def agent_in(run: Path, name: str, theta: np.ndarray | None = None, steps: int = 30) -> None:
    """An agent's folder with a few metrics, and a checkpoint if it has a model."""
    folder = run / "agents" / name
    folder.mkdir(parents=True)
    known = {"exchanges": 4, "bytes_sent": 1000, "consensus_distance": 0.5}
    lines = [{"time": 1.0 + step, "step": step, "loss": 1 / (1 + step), **known} for step in range(0, steps, 10)]
    lines[-1] |= {"test_accuracy": 0.75}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if theta is not None:
        facts = {"agent": name, "step": 20, "weight": 1.0}
        checkpoint.save(folder / checkpoint.FILE, Checkpoint(theta.astype(np.float32), [], facts, SHAPES))


def told(run: Path) -> dict:
    """What a page reads of a folder."""
    past = Past(run)
    story = Story(past.title, past.where)
    past.begin(story)
    story.add(past.look(), 0.0)
    return json.loads(story.event(0)[0][6:])


def test_a_run_is_shown_from_its_beginning_with_layers_and_scores(tmp_path):
    agent_in(tmp_path, "a", np.ones(8))
    agent_in(tmp_path, "b", np.array([1, 1, 1, 1, 1, 1, 3, 3.0]))
    page = told(tmp_path)
    assert [point[0] for point in page["points"][:3]] == [0, 10, 20]
    assert [point[1] for point in page["points"][:3]] == [0.5, 0.5, 0.5]
    assert page["points"][0][3] == [1, 1] and page["points"][2][5] == [0.75, 0.75]
    assert page["now"]["models"]["layers"] == [["hidden", [0, 0]], ["output", [0.5, 0.5]]]
    assert page["now"]["ended"] and page["now"]["metric"] == "accuracy"
    assert [agent["score"] for agent in page["now"]["agents"]] == [0.75, 0.75]


def test_the_card_of_the_consensus_precedes(tmp_path):
    agent_in(tmp_path, "a")
    card = {"metrics": {"accuracy": 0.9, "loss": None}, "metrics_of": {"a": {"accuracy": 0.8}}}
    (tmp_path / "consensus.json").write_text(json.dumps(card))
    now = told(tmp_path)["now"]
    assert now["merged"] == {"accuracy": 0.9} and now["agents"][0]["score"] == 0.8


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": 3}', '{"metrics": {}, "metrics_of": {"a": 1}}'])
def test_a_card_that_is_none_is_as_if_there_was_none(tmp_path, text):
    agent_in(tmp_path, "a")
    (tmp_path / "consensus.json").write_text(text)
    assert told(tmp_path)["now"]["merged"] == {}


def test_models_of_two_kinds_and_damaged_ones_have_no_layers(tmp_path):
    agent_in(tmp_path, "a", np.ones(8))
    agent_in(tmp_path, "b", np.ones(8))
    (tmp_path / "agents" / "b" / checkpoint.FILE).write_bytes(b"damaged")
    assert told(tmp_path)["now"]["models"]["layers"] == []


def test_the_course_of_a_run_is_bounded_and_ends_for_each_where_it_ended():
    def course(steps: int) -> list[Line]:
        return [Line(0.0, step, 1.0, 0, 0, None, {}, {}) for step in range(0, steps, 2)]

    found = list(points({"long": course(5000), "short": course(2000)}, {}))
    assert len(found) <= 2 * MOMENTS and found[0].step == 0
    assert all((point.losses[1] == 1.0) == (point.step <= 1998) for point in found)


def judged_run(run: Path, lines: int, every: int, metric: str) -> None:
    """An agent that judges its own model seldom: the score of each evaluation is its step."""
    agent_in(run, "a")
    file = run / "agents" / "a" / "metrics.jsonl"
    known = {"loss": 0.5, "exchanges": 4, "bytes_sent": 1000}
    with file.open("w") as opened:
        for step in range(lines):
            opened.write(json.dumps({"time": 1.0 + step, "step": step} | known) + "\n")
            if step % every == 0:
                opened.write(json.dumps({"time": 1.0 + step, "step": step} | known | {f"test_{metric}": step}) + "\n")


@pytest.mark.parametrize("lines", [1_000, 30_000], ids=["read whole", "sampled"])
@pytest.mark.parametrize("metric", ["accuracy", "top3"])
def test_every_evaluation_is_in_the_course_however_long_the_run(tmp_path, lines, metric):
    judged_run(tmp_path, lines, lines // 20, metric)
    page = told(tmp_path)
    scores = [point[5][0] for point in page["points"]]
    assert set(scores) >= {each * (lines // 20) for each in range(20)}
    for point in page["points"][:-1]:
        assert point[5][0] == point[0] // (lines // 20) * (lines // 20), "the last one so far, at each step"
    assert page["now"]["metric"] == metric and page["now"]["agents"][0]["score"] == 19 * (lines // 20)


def test_evaluations_that_a_resumed_agent_has_yet_to_reach_are_dropped(tmp_path):
    judged_run(tmp_path, 900, 300, "accuracy")
    file = tmp_path / "agents" / "a" / "metrics.jsonl"
    known = {"loss": 0.5, "exchanges": 4, "bytes_sent": 1000}
    with file.open("a") as opened:
        opened.write("".join(json.dumps({"time": 1.0, "step": step} | known) + "\n" for step in range(400, 500)))
    page = told(tmp_path)
    assert {point[5][0] for point in page["points"]} == {0, 300} and page["now"]["agents"][0]["score"] == 300


def test_the_course_never_goes_back_where_those_behind_go_on_or_have_ended(tmp_path):
    agent_in(tmp_path, "fast", steps=900)
    agent_in(tmp_path, "slow", steps=300)
    steps = [point[0] for point in told(tmp_path)["points"]]
    assert steps == sorted(steps) and steps[-1] == 890


@pytest.mark.parametrize(
    ("submodel", "shown"), [("width:2", []), ("layers:2", ["hidden", "output"]), ("?", ["hidden"])]
)
def test_subnetworks_have_no_mean_from_which_layers_could_be_far(tmp_path, submodel, shown):
    agent_in(tmp_path, "a", np.ones(8))
    agent_in(tmp_path, "b", -np.ones(8))
    (tmp_path / "config.toml").write_text(f'submodel = "{submodel}"\n')
    layers = [name for name, _ in told(tmp_path)["now"]["models"]["layers"]]
    assert layers[: len(shown)] == shown and bool(layers) == bool(shown)


@pytest.mark.parametrize("facts", [{"weight": "heavy"}, {"step": None}, {"weight": [1]}])
def test_a_checkpoint_with_facts_of_another_version_has_no_layers(tmp_path, facts):
    agent_in(tmp_path, "a", np.ones(8))
    agent_in(tmp_path, "b", np.ones(8))
    other = Checkpoint(np.ones(8, np.float32), [], {"agent": "b", "step": 20, "weight": 1.0} | facts, SHAPES)
    checkpoint.save(tmp_path / "agents" / "b" / checkpoint.FILE, other)
    assert told(tmp_path)["now"]["models"]["layers"] == []
