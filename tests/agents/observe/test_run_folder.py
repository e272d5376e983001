"""What agents have written of their training, whole, torn, of another version, or while they write."""

import json
import os
import time
from pathlib import Path

import pytest

from agents.observe.run_folder import SAMPLES, WHOLE, NoRunError, RunFolder


def line(step: int, **more: object) -> str:
    """As an agent writes one."""
    known = {"time": time.time(), "step": step, "loss": 1 / (1 + step), "exchanges": step // 5, "skipped": 0}
    return json.dumps(known | {"bytes_sent": 100 * step, "distance": 0.1, "lost": 0, "members": 2} | more) + "\n"


def agent_in(run: Path, name: str, text: str, finished: bool | None = None, pid: int | None = None) -> Path:
    """The folder of an agent with these metrics. finished: as its last start has it. pid: of its process."""
    folder = run / "agents" / name
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(text)
    (folder / "agent.json").write_text(json.dumps({"agent": name, "pid": os.getpid() if pid is None else pid}))
    (folder / "config.toml").write_text('steps = 100\nshard = "0/2"\n')
    if finished is not None:
        start = {"agent": name, "run": "r", "incarnation": 1, "words": [], "finished": finished}
        (folder / "start.json").write_text(json.dumps(start))
    return folder


def test_agents_are_seen_as_their_last_lines_say(tmp_path):
    agent_in(tmp_path, "a", line(10) + line(20, consensus_distance=0.5), finished=False)
    agent_in(tmp_path, "b", line(10) + line(30, loss=None, consensus_distance=0.7), finished=False)
    (tmp_path / "config.toml").write_text('topology = "ring"\nalpha = 0.5\n')
    folder = RunFolder(tmp_path)
    seen = folder.look()
    assert [(a.agent, a.state, a.step, a.steps) for a in seen.agents] == [
        ("a", "training", 20, 100),
        ("b", "training", 30, 100),
    ]
    assert [a.loss is None for a in seen.agents] == [False, True]
    assert seen.consensus_distance in (0.5, 0.7) and folder.settings["topology"] == "ring"


def test_lines_are_followed_and_a_line_without_its_end_waits_for_it(tmp_path):
    file = agent_in(tmp_path, "a", line(10)) / "metrics.jsonl"
    folder = RunFolder(tmp_path)
    whole = line(20)
    with file.open("a") as opened:
        opened.write(whole[:25])
        opened.flush()
        assert folder.look().agents[0].step == 10
        opened.write(whole[25:] + line(30)[:7])
        opened.flush()
    assert folder.look().agents[0].step == 20


def test_an_agent_that_comes_later_is_seen(tmp_path):
    agent_in(tmp_path, "a", line(10))
    folder = RunFolder(tmp_path)
    agent_in(tmp_path, "b", line(10))
    assert [agent.agent for agent in folder.look().agents] == ["a", "b"]


def test_who_is_gone_while_others_train_is_dead_and_who_finished_has_left(tmp_path):
    old = time.time() - 60
    agent_in(tmp_path, "a", line(10))
    agent_in(tmp_path, "b", line(10, time=old), pid=2**22 + 1)
    agent_in(tmp_path, "c", line(10, time=old))
    agent_in(tmp_path, "d", line(100, time=old), finished=True)
    seen = RunFolder(tmp_path).look()
    assert [agent.state for agent in seen.agents] == ["training", "dead", "silent", "left"]
    assert [alarm.agent for alarm in seen.alarms] == ["b"]


def test_a_run_that_has_ended_alarms_nobody(tmp_path):
    agent_in(tmp_path, "a", line(10, time=1.0), pid=2**22 + 1)
    seen = RunFolder(tmp_path).look()
    assert [agent.state for agent in seen.agents] == ["left"] and seen.alarms == ()


def test_an_agent_that_resumed_goes_on_from_its_checkpoint(tmp_path):
    agent_in(tmp_path, "a", line(10) + line(20) + line(30) + '{"time": 1.0, "st' + "\n" + line(15) + line(25))
    assert [each.step for each in RunFolder(tmp_path).agents["a"]] == [10, 15, 25]


def test_of_a_long_file_a_sample_is_read_and_its_end_is_exact(tmp_path):
    one = line(10)
    count = 4 * WHOLE // len(one)
    agent_in(tmp_path, "a", "".join(line(step) for step in range(count)))
    lines = RunFolder(tmp_path).agents["a"]
    assert lines[0].step < 20 and lines[-1].step == count - 1 and len(lines) <= SAMPLES + 1
    steps = [each.step for each in lines]
    assert steps == sorted(steps)


def test_one_agent_s_own_folder_is_a_run(tmp_path):
    assert RunFolder(agent_in(tmp_path, "a", line(10))).look().agents[0].agent == "a"


@pytest.mark.parametrize(
    ("make", "said"),
    {
        "no folder": (lambda run: run.rmdir(), "there is no folder"),
        "an empty one": (lambda run: None, "holds no run: expected agents/\\*/metrics.jsonl"),
        "a run that begins": (lambda run: (run / "config.toml").write_text(""), "have written no metrics yet"),
        "one that has begun": (lambda run: agent_in(run, "a", ""), "have written no metrics yet"),
        "half a line": (lambda run: agent_in(run, "a", line(1)[:20]), "have written no metrics yet"),
        "another version": (lambda run: agent_in(run, "a", '{"round": 1}\n{"round": 2}\n'), "isn't of this version"),
        "no metrics at all": (lambda run: agent_in(run, "a", "\x00\x01\n"), "isn't of this version"),
        "the folder above": (lambda run: agent_in(run / "deeper", "a", line(1)), "holds no run: give .*deeper"),
    }.values(),
)
def test_what_is_no_run_is_one_clear_line(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(NoRunError, match=said) as error:
        RunFolder(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "strange", ['{"step": Infinity, "time": 1.0}', '{"time": 1' + "0" * 400 + "}", "[" * 100_000, '{"step": 1e999}']
)
def test_a_line_whose_numbers_are_none_is_left_out(tmp_path, strange):
    known = '"loss": 1, "exchanges": 1, "bytes_sent": 1}'
    text = strange.replace("}", f', "step": 5, {known}' if "step" not in strange else f', "time": 1, {known}')
    agent_in(tmp_path, "a", line(10) + text + "\n" + line(20))
    assert [each.step for each in RunFolder(tmp_path).agents["a"]] == [10, 20]
