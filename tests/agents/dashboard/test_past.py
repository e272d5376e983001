"""The folder of a run as the page shows it: its whole course, its layers, and what its card says."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents import checkpoint
from agents.checkpoint import Checkpoint
from agents.dashboard.past import MOMENTS, Past, points
from agents.dashboard.story import Story
from agents.observe.run_folder import Line

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

    found = list(points({"long": course(5000), "short": course(2000)}))
    assert len(found) <= 2 * MOMENTS and found[0].step == 0
    assert all((point.losses[1] == 1.0) == (point.step <= 1998) for point in found)
