"""docs/metrics.md documents each field that an agent writes, with its unit, and no other."""

import json
import re
from pathlib import Path

import pytest

from agents.agent import Agent
from agents.settings import Gossiping, Learning, Placing
from agents.sinks.measures import FIELDS, JUDGED, judged

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_has_every_field_with_its_unit_and_what_it_is() -> None:
    rows = re.findall(r"^\| `([a-z_]+)\*?` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows[: len(FIELDS) + len(JUDGED)] == [
        (name, measure.unit, measure.help) for name, measure in (FIELDS | JUDGED).items()
    ]


def test_an_agent_writes_these_fields_and_its_sinks_get_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    agent = Agent(
        Learning(task="digits", steps=40, evaluate_every="20steps"),
        Gossiping(linger=0, settle=0),
        Placing(run_dir=tmp_path, track=("tensorboard",), prometheus="0"),
    )
    said: list[str] = []
    agent.run(said.append)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all([name for name in line if judged(name) is None] == list(FIELDS) for line in lines)
    evaluated = [line["step"] for line in lines if "test_accuracy" in line]
    assert evaluated == [20, 40, 40], "at each evaluation, and at the end"
    assert {judged(name) for line in lines for name in line} == {None, ("test", "accuracy"), ("test", "loss")}
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert path.read_bytes().count(b"test_accuracy") == 3
    assert any("metrics for Prometheus: http://127.0.0.1:" in line for line in said)
