"""`agent run` alone and in company, from the outside."""

import json
import shlex
import signal
import time
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from live_agents import (
    Start,
    address_of,
    facts,
    last_step,
    measures,
    start_two,
    wait_until,
    write_linear_task,
)
from safetensors.numpy import load_file

from agents import load_run, load_task
from agents.learning.data import batch_rows, load_rows, shard_rows
from agents.learning.data import labels_or_count as describe
from agents.learning.learner import make_learner
from sim import replay

ALONE = ("run", "--task", "digits", "--listen", "tcp://127.0.0.1:0", "--no-evaluate", "--linger", 0, "--settle", 0)
ADAM = ("--optimizer", "adam", "--learning-rate", 0.001)  # no schedule, which would depend on the run's length


def theta_of(run_dir: Path) -> np.ndarray:
    return load_run(run_dir).theta[0]


def test_one_agent_alone_equals_ordinary_training_bit_for_bit(start: Start, tmp_path: Path) -> None:
    steps, batch = 75, 32
    start(*ALONE, *ADAM, "--steps", steps, "--batch-size", batch, "--seed", 3, "--run-dir", tmp_path / "a").end()
    task = load_task("digits")
    learner = make_learner(task, "adam", 0.001, steps, seed=3)
    rows = shard_rows("iid", describe(task.train_data), 1, 0, 3)
    data = jax.device_put(load_rows(task.train_data, rows))
    state = learner.init(3)
    for step in range(steps):
        batches = batch_rows(3, 0, step, 1, batch, len(rows))
        state, _ = learner.train(state, data, batches, np.int32(0), np.int32(step))
    np.testing.assert_array_equal(theta_of(tmp_path / "a"), np.asarray(learner.flatten(state.params)))


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(start: Start, tmp_path: Path) -> None:
    start(*ALONE, *ADAM, "--steps", 200, "--run-dir", tmp_path / "whole").end()
    start(*ALONE, *ADAM, "--steps", 95, "--run-dir", tmp_path / "halves").end()
    again = start(*ALONE, *ADAM, "--steps", 200, "--run-dir", tmp_path / "halves")
    again.end()
    assert "resuming at step 95 of 200\n" in again.stderr
    once_more = start(*ALONE, *ADAM, "--steps", 200, "--run-dir", tmp_path / "halves")
    once_more.end()
    assert "resuming at step 200 of 200; nothing is left to train: another --run-dir" in once_more.stderr
    np.testing.assert_array_equal(theta_of(tmp_path / "whole"), theta_of(tmp_path / "halves"))


def test_a_run_with_a_random_key_in_its_optimizer_resumes_bit_for_bit(start: Start, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import jax, optax\nfrom dataclasses import replace\nfrom agents import load_task\n"
        "noisy = optax.chain(optax.add_noise(0.01, 0.55, jax.random.key(3)), optax.adam(1e-3, mu_dtype='bfloat16'))\n"
        "task = replace(load_task('digits'), optimizer=noisy, learning_rate=None)\n"
    )
    noisy = ("run", "--task", "noisy.py", *ALONE[3:])
    start(*noisy, "--steps", 60, "--run-dir", tmp_path / "whole").end()
    start(*noisy, "--steps", 25, "--run-dir", tmp_path / "halves").end()
    start(*noisy, "--steps", 60, "--run-dir", tmp_path / "halves").end()
    np.testing.assert_array_equal(theta_of(tmp_path / "whole"), theta_of(tmp_path / "halves"))
    other = start(*noisy, *ADAM, "--steps", 80, "--run-dir", tmp_path / "halves")
    other.end(2)
    assert "the checkpoint is of another optimizer" in last_line(other.stderr) and "Traceback" not in other.stderr


def test_ctrl_c_saves_and_the_next_start_goes_on_from_there(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    command = start(*ALONE, *ADAM, "--steps", 1_000_000, "--run-dir", folder)
    command.wait_for(lambda: last_step(folder) > 100, "it trains")
    command.interrupt()
    command.end(130)
    step = int(load_run(folder).steps[0])
    assert 100 < step < 1_000_000
    resumed = start("run", "--config", folder / "config.toml", "--steps", step + 50)
    resumed.end()
    start(*ALONE, *ADAM, "--steps", step + 50, "--run-dir", tmp_path / "whole").end()
    np.testing.assert_array_equal(theta_of(folder), theta_of(tmp_path / "whole"))


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_checkpoint_before(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    start(*ALONE, *ADAM, "--steps", 30, "--run-dir", folder).end()
    before = load_run(folder)
    command = start(*ALONE, *ADAM, "--steps", 60, "--run-dir", folder, "--join", "tcp://127.0.0.1:9")
    command.wait_for_text("still trying")
    command.process.send_signal(signal.SIGSTOP)  # so that both have come before it can look at the first
    command.interrupt()
    command.process.send_signal(signal.SIGTERM)
    command.process.send_signal(signal.SIGCONT)
    command.end(130)
    assert "Traceback" not in command.stderr
    np.testing.assert_array_equal(load_run(folder).theta, before.theta)


FULL_DISK = "bash", "-c", 'ulimit -f 8; exec "$@"', "-"
"""No file grows beyond 8 KiB: a checkpoint doesn't fit, a recording and metrics fit for a while."""


def test_a_full_disk_costs_no_training_and_what_it_costs_is_said(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    command = start(
        *ALONE,
        *ADAM,
        "--steps",
        3000,
        "--every",
        "2steps",
        "--checkpoint-every",
        0.1,
        "--run-dir",
        folder,
        prefix=FULL_DISK,
    )
    command.end(2)
    assert "trained 3000 steps" in command.stderr and "make room there" in command.stderr and "[G411]" in command.stderr
    assert command.stderr.count("could not be written") == 3, "once for each file, and at the end"
    assert "checkpoint.safetensors" in command.stderr and "consensus.safetensors" in command.stderr
    assert "tape.bin ends here" in command.stderr and "Traceback" not in command.stderr
    start(*ALONE, *ADAM, "--steps", 100, "--run-dir", folder, "--no-record").end()
    assert load_run(folder).steps.tolist() == [100]


def test_a_resumed_run_is_replayed_bit_for_bit_even_from_an_older_checkpoint(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    endless = (*ALONE, *ADAM, "--steps", 10**6, "--checkpoint-every", 0.1, "--run-dir", folder)
    for again in (False, True):
        command = start(*endless)
        if again:
            command.wait_for_text("resuming at step")
        lines = len(measures(folder))
        command.wait_for(lambda lines=lines: len(measures(folder)) > lines + 1, "it trains")
        command.wait_for((folder / "checkpoint.1.safetensors").exists, "it has saved twice")
        command.process.kill()
        command.process.wait()
    with open(folder / "checkpoint.safetensors", "rb+") as file:
        file.truncate(1000)
    command = start(*endless)
    command.wait_for_text("resuming at step")
    assert "checkpoint.safetensors is no checkpoint" in command.stderr and "passed over" in command.stderr
    command.interrupt()
    command.end(130)
    history, run = replay(folder, exact=True, progress=False), load_run(folder)
    assert history.facts["notes"] == [] and history.facts["steps"] == run.steps.tolist()
    assert history.theta.tobytes() == run.theta.tobytes()
    coarse = replay(folder, progress=False)
    assert coarse.facts["steps"] == run.steps.tolist()


def test_a_bounded_recording_is_replayed_as_far_as_it_goes(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    start(*ALONE, *ADAM, "--steps", 500, "--record-mb", 0.001, "--run-dir", folder).end()
    assert (folder / "tape.bin").stat().st_size < 1500
    for exact in (True, False):
        history = replay(folder, exact=exact, progress=False)
        [note] = history.facts["notes"]
        assert "recording ends before its run did: it reached its bound of 0.001 MB" in note
        assert 0 < history.facts["steps"][0] < 500


def test_it_trains_for_as_long_as_it_is_given(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    report = json.loads(start(*ALONE, *ADAM, "--steps", 10**9, "--for", 0.3, "--json", "--run-dir", folder).end())
    assert report["train_s"] >= 0.3
    assert 0 < report["steps"] == int(load_run(folder).steps[0]) < 10**9


def test_two_agents_seen_and_assembled_by_a_third_process(start: Start, tmp_path: Path) -> None:
    one, two, address = start_two(start, tmp_path, "--wait-for", 2, "--steps", 300, "--linger", 30)
    card = json.loads(start("consensus", "--wait", "--json", "--join", address, "--timeout", 60).end())
    assert card["agents"] == ["one", "two"] and card["missing"] == []
    assert card["steps"] == {"one": 300, "two": 300}
    assert card["accuracy"] > 0.9
    assert (tmp_path / "consensus.safetensors").is_file()
    assert json.loads((tmp_path / "consensus.json").read_text())["agents"] == card["agents"]
    status = json.loads(start("status", "--json", "--join", address).end())
    assert [(member["agent"], member["alive"], member["step"]) for member in status["members"]] == [
        ("one", True, 300),
        ("two", True, 300),
    ]
    assert all(member["exchanges"] > 0 and member["last_exchange_s"] >= 0 for member in status["members"])
    one.interrupt()
    one.end(130)
    two.end()  # nobody is left to stay for


def test_a_swarm_that_nobody_collected_is_assembled_from_its_folders(start: Start, tmp_path: Path) -> None:
    one, two, _ = start_two(start, tmp_path, "--wait-for", 2, "--steps", 150, "--linger", 0)
    one.end()
    two.end()
    card = json.loads(start("consensus", "--json", tmp_path / "one", tmp_path / "two").end())
    assert (card["agents"], card["missing"], card["task"]) == (["one", "two"], [], "digits")
    assert card["steps"] == {"one": 150, "two": 150} and card["accuracy"] > 0.85
    facts_of = [load_run(tmp_path / name).facts[0] for name in ("one", "two")]
    assert facts_of[0]["run"] == facts_of[1]["run"] == card["run"] != ""
    assert sum(fact["weight"] for fact in facts_of) == sum(fact["samples"] for fact in facts_of)
    alone = json.loads(start("consensus", "--json", "--no-evaluate", tmp_path / "two").end())
    assert (alone["agents"], alone["missing"]) == (["two"], ["one"])
    merged, own = (load_file(tmp_path / name) for name in ("consensus.safetensors", "one/checkpoint.safetensors"))
    assert merged.keys() == {name for name in own if not name.startswith("optimizer/")}


def test_a_metric_that_raises_costs_the_metric_and_not_the_model(start: Start, tmp_path: Path) -> None:
    raising = "def host(w):\n    raise RuntimeError('my own text')\n"
    odd = "{'odd': jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float32), params['w'])}"
    write_linear_task(tmp_path / "mine.py", odd, raising)
    alone = ("--listen", "tcp://127.0.0.1:0", "--steps", 20, "--run-dir", tmp_path / "a")
    command = start("run", "--task", "mine.py", *alone)
    command.end(2)
    assert "RuntimeError: my own text" in last_line(command.stderr) and "mine.py, line 10" in last_line(command.stderr)
    assert load_run(tmp_path / "a").steps.tolist() == [20]


def test_a_killed_agent_is_never_shown_as_alive(start: Start, tmp_path: Path) -> None:
    one, two, address = start_two(start, tmp_path, "--steps", 10**9, "--silent", 2)
    two.wait_for(lambda: last_step(tmp_path / "two") > 50, "it trains")

    def alive() -> dict[str, tuple[bool, float]]:
        status = json.loads(start("status", "--json", "--join", address).end())
        return {member["agent"]: (member["alive"], member["silent_s"]) for member in status["members"]}

    assert all(there and silent_s < 5 for there, silent_s in alive().values())
    two.process.kill()
    two.process.wait()
    one.wait_for_text("two is silent")
    wait_until(lambda: alive()["two"][1] > 5, "a newcomer, too, sees for how long it is silent")
    assert alive()["two"][0] is False and alive()["one"][0] is True
    shown = start("status", "--join", address).end()
    assert "silent for" in shown
    top = json.loads(start("top", tmp_path / "one", "--once", "--json").end())
    assert {each["agent"]: each["state"] for each in top["agents"]} == {"one": "training", "two": "dead"}
    assert [(each["kind"], each["agent"]) for each in top["alarms"]] == [("dead", "two")]
    lost = {
        member["agent"]: member["lost"]
        for member in json.loads(start("status", "--json", "--join", address).end())["members"]
    }
    assert ("crashed" in shown) == (lost["one"] > 0) and lost["one"] <= 2 and lost["two"] == 0
    one.interrupt()
    one.end(130)


def test_the_line_to_paste_starts_the_next_agent_with_the_same_settings(start: Start, tmp_path: Path) -> None:
    same = "--steps", 20, "--every", "5steps", "--partition", "labels:2", "--alpha", 0.6, "--wait-for", 2
    first = start(*ALONE, *ADAM, *same, "--shard", "0/2", "--seed", 3, "--run-dir", tmp_path / "a")
    first.wait_for(lambda: "    agent run " in first.stderr, "it shows what to paste")
    line = next(line for line in first.stderr.splitlines() if "    agent run " in line)
    assert "--wait-for=2" in line and line.endswith("--shard=1/2")
    assert "--alpha" not in line, "what all share comes from the swarm"
    start(*shlex.split(line)[1:], "--listen", "none", "--run-dir", tmp_path / "b").end()
    first.end()
    mine, theirs = (tomllib.loads((tmp_path / name / "config.toml").read_text()) for name in ("a", "b"))
    for name in ("task", "steps", "every", "partition", "alpha", "seed", "optimizer", "learning_rate"):
        assert mine[name] == theirs[name], name


def test_no_line_to_paste_when_no_shard_is_left(start: Start, tmp_path: Path) -> None:
    alone = start(*ALONE, "--steps", 5, "--run-dir", tmp_path / "alone")
    alone.end()
    assert "listening on tcp://127.0.0.1:" in alone.stderr and "next machine" not in alone.stderr
    first = start(*ALONE, "--steps", 5, "--shard", "0/2", "--wait-for", 2, "--run-dir", tmp_path / "first")
    address = address_of(first, tmp_path / "first")
    second = start(*ALONE, "--steps", 5, "--shard", "1/2", "--join", address, "--run-dir", tmp_path / "second")
    second.end()
    first.end()
    assert "on the next machine" in first.stderr and "on the next machine" not in second.stderr


def test_a_late_joiner_starts_from_the_swarms_model(start: Start, tmp_path: Path) -> None:
    common = ("run", "--task", "digits", "--listen", "tcp://127.0.0.1:0", "--no-evaluate", "--linger", 0)
    first = start(*common, "--steps", 1_000_000, "--shard", "0/2", "--run-dir", tmp_path / "first")
    first.wait_for(lambda: last_step(tmp_path / "first") > 400, "it trained 400 steps")
    address = facts(tmp_path / "first")["address"]
    late = start(*common, "--steps", 200, "--shard", "1/2", "--run-dir", tmp_path / "late", "--join", address)
    late.wait_for(lambda: measures(tmp_path / "late"), "it trains")
    assert "took over its model" in late.stderr
    assert measures(tmp_path / "first")[0]["loss"] > 1.2  # a fresh model
    assert measures(tmp_path / "late")[0]["loss"] < 0.8


def test_a_peer_with_another_model_is_refused(start: Start, tmp_path: Path) -> None:
    write_linear_task(tmp_path / "other.py")
    listening = ("--listen", "tcp://127.0.0.1:0", "--steps", 1_000_000, "--no-evaluate")
    ours = start("run", "--task", "digits", *listening, "--run", "blue", "--run-dir", tmp_path / "ours")
    address = address_of(ours, tmp_path / "ours")
    theirs = start("run", "--task", "other.py", *listening, "--join", address)
    theirs.end(2)
    assert "task is other.py here and digits in the swarm" in last_line(theirs.stderr)
    red = start("run", "--task", "digits", *listening, "--run", "red", "--join", address)
    red.end(2)
    assert "the run is red here and blue in the swarm" in last_line(red.stderr)
    ours.interrupt()
    ours.end(130)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_or_a_request_to_end_saves(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "a"
    command = start(*ALONE, *ADAM, "--steps", 1_000_000, "--run-dir", folder)
    command.wait_for(lambda: last_step(folder) > 100, "it trains")
    command.process.send_signal(number)
    command.end()
    assert 100 < load_run(folder).steps[0] < 1_000_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_unreachable_join_is_tried_on_until_ctrl_c(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    command = start(*ALONE, "--steps", 10, "--join", "tcp://127.0.0.1:9")
    command.wait_for_text("no answer from tcp://127.0.0.1:9 yet; still trying")
    began_s = time.monotonic()
    command.process.send_signal(number)
    command.end(130 if number == signal.SIGINT else 0)
    assert time.monotonic() - began_s < 3


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
