"""The consensus of a swarm that has ended, from what its agents saved."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from agents import load_task
from agents.checkpoint import FILE, Checkpoint, save
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.mixing.blocks import blocks_of
from agents.mixing.consensus import consensus_distance, weighted_mean
from agents.mixing.layout import Layout
from agents.observe.card import CONSENSUS, Consensus, write_model

PARAMETERS = [("w", (2, 2)), ("b", (2,))]
MODEL = "5e" * 32


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "gossamer")


def theta_of(agent: str) -> np.ndarray:
    return np.random.default_rng(list(agent.encode())).normal(size=6).astype(np.float32)


def saved(folder: Path | str, agent: str, parameters=PARAMETERS, theta=None, **facts) -> Path:
    """The folder of an agent that saved this."""
    known = {"agent": agent, "step": 9, "weight": 1.0, "run": "run", "task": "", "model": MODEL, "members": [agent]}
    theta = theta_of(agent) if theta is None else theta
    save(Path(folder) / FILE, Checkpoint(theta, [np.ones(3)], known | facts, parameters))
    return Path(folder)


def consensus(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    assert run_command(["consensus", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


@pytest.mark.parametrize("given", [["run"], ["run/agents/a", "run/agents/b"], ["run", "run/agents/a"]], ids=str)
def test_folders_of_runs_and_of_agents_give_the_weighted_mean_by_name(capsys, given):
    saved("run/agents/a", "a", weight=1.0, step=7)
    saved("run/agents/b", "b", weight=3.0)
    card = consensus(capsys, *given, "--out", "out.safetensors")
    thetas, weights = np.stack([theta_of("a"), theta_of("b")]).astype(np.float64), np.array([1.0, 3.0])
    merged = load_file("out.safetensors")
    assert {name: array.shape for name, array in merged.items()} == dict(PARAMETERS)
    both = np.concatenate([merged["w"].ravel(), merged["b"]])
    np.testing.assert_allclose(both, weighted_mean(thetas, weights), atol=1e-6)
    assert card["distance"] == pytest.approx(consensus_distance(thetas, weights), rel=1e-5)
    assert (card["agents"], card["missing"], card["steps"]) == (["a", "b"], [], {"a": 7, "b": 9})
    assert (card["run"], card["model"], card["parameters"]) == ("run", MODEL, 6)
    assert json.loads(Path("out.json").read_text()) == card


def test_what_an_incomplete_finish_made_a_vector_weigh_in_each_block_counts(capsys):
    """Agents of shards 0 and 2 train the first of two blocks; the one of shard 1 holds a share of it by now."""
    blocks = blocks_of(Layout(PARAMETERS), [], 2)
    divided = {"submodel": "layers:2", **blocks.settings}
    masses = {"a": (1.0, 0.0), "b": (2.0, 0.5), "c": (0.25, 1.5)}
    for shard, (agent, each) in enumerate(masses.items()):
        facts = divided | {"shard": f"{shard}/3", "masses": " ".join(map(repr, each))}
        saved(f"run/agents/{agent}", agent, **facts)
    consensus(capsys, "run", "--out", "out.safetensors")
    merged, thetas = load_file("out.safetensors"), np.stack([theta_of(agent) for agent in masses])
    for k, (name, at) in enumerate((("w", slice(4)), ("b", slice(4, 6)))):
        mean = np.average(thetas[:, at], axis=0, weights=[each[k] for each in masses.values()])
        np.testing.assert_allclose(merged[name].ravel(), mean, atol=1e-6)


def test_a_checkpoint_that_is_older_than_a_finish_is_named_with_the_model_of_that_finish(capsys, caplog):
    """As where the disk of one was full when all finished."""
    for agent, step in (("a", 7), ("b", 9)):
        saved(f"run/agents/{agent}", agent, step=step)
        consensus(capsys, "run", "--out", "out.safetensors")
        assert "is older than" not in caplog.text
    card = Consensus("run", "", agents=["a", "b"], steps={"a": 9, "b": 9}, model=MODEL)
    write_model(Path("run/agents/b") / CONSENSUS, theta_of("b"), PARAMETERS, card)
    consensus(capsys, "run", "--out", "out.safetensors")
    [line] = [line for line in caplog.messages if "is older than" in line]
    assert line.startswith(
        "run/agents/a/checkpoint.safetensors is older than the model that a finished with, at step 9"
    )
    assert "run/agents/b/consensus.safetensors" in line


def test_a_model_of_any_name_has_its_own_card_and_is_replaced_by_the_next(capsys):
    saved("run/agents/a", "a")
    for out, card in (("model.v1", "model.v1.json"), ("model.v2", "model.v2.json"), ("m.safetensors", "m.json")):
        for _ in range(2):
            found = consensus(capsys, "run", "--out", out)
            assert json.loads(Path(card).read_text()) == found and found["path"] == out
    assert len(load_file("model.v1")) == len(PARAMETERS)


def test_nothing_but_a_consensus_model_and_its_card_is_replaced(capsys, monkeypatch):
    """It is said before a swarm is met, which could take long."""
    Path("package.json").write_text('{"name": "mine"}')
    Path("notes.json").write_text("[not JSON")
    Path("thesis.txt").write_text("my thesis")
    Path("folder").mkdir()
    own = saved("run/agents/a", "a") / FILE
    before = own.read_bytes()

    def refused(out: object) -> str:
        assert run_command(["consensus", "--join", "tcp://127.0.0.1:9", "--timeout", "99", "--out", str(out)]) == 2
        return capsys.readouterr().err

    assert "package.json is there and no card of one" in refused("package.safetensors")
    assert "notes.json is there and no card of one" in refused("notes")
    assert "thesis.txt is there and no consensus model" in refused("thesis.txt")
    assert f"{own} is there and no consensus model" in refused(own)
    for folder in ("folder", "", "."):
        assert "which is a folder" in refused(folder)
    assert "thesis.txt is no folder" in refused("thesis.txt/model")
    assert own.read_bytes() == before
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "nothing can be written in" in refused("new/model")
    assert not Path("new").exists()


@pytest.mark.parametrize("lie", [lambda theta: theta + 1e15, lambda theta: -10 * theta, lambda theta: -theta])
def test_a_vector_that_is_far_from_all_others_is_left_out_with_a_line(capsys, caplog, lie):
    """Neither its own weight nor how many coordinates it has matters."""
    start = theta_of("start")
    honest = {agent: start + np.float32(0.01) * theta_of(agent) for agent in "abcd"}
    for agent, theta in honest.items():
        saved(f"run/agents/{agent}", agent, theta=theta)
    saved("run/agents/liar", "liar", theta=lie(start).astype(np.float32), weight=1000.0)
    card = consensus(capsys, "run", "--out", "out.safetensors")
    merged = load_file("out.safetensors")
    both = np.concatenate([merged["w"].ravel(), merged["b"]])
    np.testing.assert_allclose(both, np.mean(list(honest.values()), axis=0), atol=1e-6)
    assert (card["agents"], card["missing"]) == (list("abcd"), ["liar"])
    assert "liar is left out: its model is" in caplog.text


def test_agents_that_differ_much_are_all_in(capsys):
    """As where their data do: their distances are alike."""
    for agent in "abcd":
        saved(f"run/agents/{agent}", agent)
    assert consensus(capsys, "run")["agents"] == list("abcd")


def test_who_is_missing_is_named(capsys):
    saved("run/agents/a", "a", members=["a", "elsewhere"])
    Path("run/agents/lost").mkdir()
    card = consensus(capsys, "run", "--expect", "wanted")
    assert card["missing"] == ["elsewhere", "lost", "wanted"]
    assert run_command(["consensus", "run"]) == 0
    assert capsys.readouterr().out.startswith("1 agent, missing: elsewhere, lost; consensus distance 0\n")


def test_a_folder_of_another_name_than_its_agent_is_not_missing(capsys):
    saved("run/agents/site", "a")
    Path("run/agents/lost").mkdir()
    card = consensus(capsys, "run")
    assert (card["agents"], card["missing"]) == (["a"], ["lost"])


def test_a_vector_with_nan_or_without_facts_is_left_out_with_a_line(capsys, caplog):
    saved("run/agents/a", "a")
    saved("run/agents/b", "b", theta=np.full(6, np.nan, np.float32))
    saved("run/agents/c", "c", step=None)
    card = consensus(capsys, "run")
    assert (card["agents"], card["missing"]) == (["a"], ["b", "c"])
    assert sum("is missing: " in line for line in caplog.messages) == 2


@pytest.mark.parametrize("facts", [{"capacity": "x"}, {"part": 1e400}, {"steps": 5, "step": 1e400}, {"weight": [1]}])
def test_who_has_facts_that_no_agent_writes_is_left_out_with_a_line(capsys, caplog, facts):
    saved("run/agents/a", "a")
    saved("run/agents/b", "b", **facts)
    card = consensus(capsys, "run")
    assert (card["agents"], card["missing"]) == (["a"], ["b"])
    assert sum("b is missing: run/agents/b/checkpoint.safetensors lacks" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("size", [7, 10**13])
def test_who_holds_the_whole_model_holds_what_the_file_has(capsys, size):
    saved("one", "a", of_size=size)
    assert consensus(capsys, "one")["parameters"] == 6


FORBIDDEN = [{"members": 5}, {"width": "x"}, {"width": None}, {"agent": "\x1b[2J"}, {"members": ["\x1b[2J"]}]


@pytest.mark.parametrize("facts", FORBIDDEN)
def test_facts_without_which_a_folder_cannot_be_read_are_one_line(capsys, facts):
    saved("one", **({"agent": "a"} | facts))
    assert run_command(["consensus", "one"]) == 2
    err = capsys.readouterr().err
    assert "one/checkpoint.safetensors holds facts that no agent writes" in err and "\x1b" not in err


@pytest.mark.parametrize(
    ("other", "words"),
    [({"model": "00" * 32}, ["00000000", "5e5e5e5e", "another model"]),
     ({"agent": "a"}, ["both of agent a"]),
     ({"parameters": [("w", (7,))], "theta": np.zeros(7, np.float32)}, ["7 parameters", "another model"])],
    ids=["model", "name", "size"],
)  # fmt: skip
def test_what_doesnt_fit_is_refused_in_one_line(capsys, other, words):
    saved("one", "a")
    saved("two", **{"agent": "b"} | other)
    assert run_command(["consensus", "one", "two"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(word in err for word in words) and "Traceback" not in err
    assert not Path("consensus.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "got neither"), (["x", "--join", "tcp://127.0.0.1:9"], "got both"), (["gone"], "no agent left a checkpoint"),
     (["gone", "--wait"], "--wait is for a running swarm")],
)  # fmt: skip
def test_folders_or_a_swarm_and_not_both(capsys, arguments, words):
    assert run_command(["consensus", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err


def test_a_folder_of_runs_is_refused_with_the_names_of_those(capsys):
    saved("demo/swarm/agents/a", "a")
    saved("demo/pooled", "b")
    assert run_command(["consensus", "demo"]) == 2
    assert capsys.readouterr().err.endswith(
        "no agent left a checkpoint in demo: give demo/pooled or demo/swarm [G403]\n"
    )


def test_other_runs_are_reported_and_assembled(capsys, caplog):
    saved("one", "a", run="red")
    saved("two", "b", run="blue")
    assert consensus(capsys, "one", "two")["agents"] == ["a", "b"]
    assert any("different runs ('blue', 'red')" in line for line in caplog.messages)


def test_a_file_that_a_folder_names_is_not_loaded(capsys, caplog):
    Path("evil.py").write_text("import pathlib\npathlib.Path('loaded').touch()\n")
    saved("one", "a", task="evil.py")
    assert consensus(capsys, "one")["accuracy"] is None
    assert not Path("loaded").exists()
    assert "the swarm's task 'evil.py' is a file: pass --task evil.py to evaluate" in caplog.messages


def test_a_built_in_task_is_evaluated_by_its_name(capsys):
    learner = make_learner(load_task("digits"))
    parameters = [(name, shape) for name, shape, _ in learner.spec]
    for seed, agent in enumerate("ab"):
        theta = np.asarray(learner.flatten(learner.init(seed).params))
        saved(f"run/agents/{agent}", agent, parameters, theta, task="digits", model=learner.spec_hash)
    card = consensus(capsys, "run")
    assert 0 <= card["mean_accuracy"] <= card["best_accuracy"] <= 1 and card["metrics_of"].keys() == {"a", "b"}
    assert load_file("consensus.safetensors").keys() == {name for name, _ in parameters}


# A task of one's own: its metrics, and how it may fail.

TASK = """
import jax, jax.numpy as jnp, numpy as np
from agents import Task
data = {"x": np.ones((40, 2), np.float32), "y": np.ones((40, 2), np.float32)}

def metrics(params, batch):
    residual = batch["x"] @ params["w"] - batch["y"]
    METRICS

task = Task(init=lambda key: {"b": jnp.zeros(2), "w": jnp.zeros((2, 2))},
            loss=lambda params, batch, key: jnp.mean(params["b"] ** 2), metrics=metrics, train=data, test=data)
"""


def of_task(metrics: str) -> None:
    """my_task.py with these metrics, and two agents that trained it."""
    Path("my_task.py").write_text(TASK.replace("METRICS", metrics))
    learner = make_learner(load_task("my_task.py"))
    for agent in "ab":
        parameters = [(name, shape) for name, shape, _ in learner.spec]
        saved(f"run/agents/{agent}", agent, parameters, task="my_task.py", model=learner.spec_hash)


def test_every_metric_of_a_task_is_reported(capsys):
    of_task('return {"rmse": jnp.sqrt(jnp.mean(residual**2)), "top3": jnp.mean(residual) * 0 + 0.25}')
    assert run_command(["consensus", "run", "--task", "my_task.py"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "top3: mean of agents 0.2500, agents 0.2500 to 0.2500, merged 0.2500" in lines
    assert any(line.startswith("loss: mean of agents ") and "best agent " in line for line in lines)
    assert any(line.startswith("rmse: mean of agents ") for line in lines)
    card = consensus(capsys, "run", "--task", "my_task.py")
    assert card["metrics"].keys() == {"loss", "rmse", "top3"} == card["metrics_of"]["a"].keys()


def test_nan_is_null_in_json(capsys):
    of_task('return {"odd": jnp.mean(residual) * jnp.nan, "far": jnp.mean(residual) * 0 + jnp.inf}')
    card = consensus(capsys, "run", "--task", "my_task.py")
    assert card["metrics"]["odd"] is card["metrics"]["far"] is None
    json.loads(Path("consensus.json").read_text(), parse_constant=pytest.fail)
    assert run_command(["consensus", "run", "--task", "my_task.py"]) == 0
    assert "odd: mean of agents nan" in capsys.readouterr().out


def test_a_metric_that_raises_leaves_the_model_and_names_its_line(capsys):
    of_task('return {"loss": jnp.mean(residual)}')
    raising = 'return {"odd": jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float32), residual)}'
    host = "\ndef host(residual):\n    raise RuntimeError('my own words')\n"
    Path("other.py").write_text(TASK.replace("METRICS", raising) + host)
    assert run_command(["consensus", "run", "--task", "other.py", "--out", "out.safetensors"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError: my own words" in err and "other.py, line 14" in err
    assert load_file("out.safetensors").keys() == {"w", "b"}
    assert json.loads(Path("out.json").read_text())["agents"] == ["a", "b"]


def ended(folder: Path | str, agent: str, theta: np.ndarray, **facts) -> Path:
    """The folder of an agent of which only the consensus model is left."""
    card = Consensus("run", "", agents=["a", "b"], steps={"a": 7, "b": 9}, parameters=6, model=MODEL)
    path = Path(folder) / CONSENSUS
    path.parent.mkdir(parents=True)
    known = {"agent": agent, "weight": 2.0, "step": 9, "members": ["a", "b"]} if agent else {}
    write_model(path, theta, PARAMETERS, card, **known | facts)
    return Path(folder)


def test_a_consensus_model_stands_in_for_a_checkpoint(capsys):
    """Where only the model was copied from a site, or its checkpoint is damaged."""
    ended("site-a", "a", theta_of("x"))
    saved("site-b", "b", theta=theta_of("x"))
    card = consensus(capsys, "site-a", "site-b")
    assert (card["agents"], card["missing"], card["steps"]) == (["a", "b"], [], {"a": 9, "b": 9})
    assert card["distance"] == pytest.approx(0, abs=1e-6)
    merged = load_file("consensus.safetensors")
    np.testing.assert_allclose(np.concatenate([merged["w"].ravel(), merged["b"]]), theta_of("x"), atol=1e-6)
    (Path("site-b") / FILE).write_bytes(b"torn")
    alone = consensus(capsys, "site-a", "--out", "alone.safetensors")
    assert (alone["agents"], alone["missing"]) == (["a"], ["b"])


def test_a_model_that_agent_consensus_wrote_can_be_assembled_too(capsys):
    """It is nobody's own: it goes by its folder's name."""
    ended("merged", "", theta_of("x"))
    card = consensus(capsys, "merged")
    assert (card["agents"], card["steps"]) == (["merged"], {"merged": 9})


def test_a_consensus_model_that_was_altered_is_none(capsys, caplog):
    path = ended("site-a", "a", theta_of("x")) / CONSENSUS
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert run_command(["consensus", "site-a"]) == 2
    assert "no agent left a checkpoint in site-a" in capsys.readouterr().err
    assert "passed over" in caplog.text


def of_a_run(agent: str, blocks, k: int, **more) -> None:
    saved(f"run/agents/{agent}", agent, shard=f"{k}/4", weight=1.0 + k, **blocks.settings, **more)


def test_what_is_each_agents_own_is_in_no_consensus(capsys):
    blocks = blocks_of(Layout(PARAMETERS), ["b"])
    for k, agent in enumerate("abc"):
        of_a_run(agent, blocks, k)
    card = consensus(capsys, "run", "--out", "out.safetensors")
    thetas = np.stack([theta_of(agent)[:4] for agent in "abc"]).astype(np.float64)
    weights = np.array([1.0, 2.0, 3.0])
    merged = load_file("out.safetensors")
    assert list(merged) == ["w"]
    np.testing.assert_allclose(merged["w"].ravel(), weighted_mean(thetas, weights), atol=1e-6)
    assert card["distance"] == pytest.approx(consensus_distance(thetas, weights), rel=1e-5)
    assert (card["own"], card["parameters"], card["trained_by"]) == ("b", 4, {})
    assert "left out, as they stay with their agents: b" in Consensus(**card).lines()


def test_of_each_block_the_consensus_is_that_of_those_who_train_it(capsys):
    blocks = blocks_of(Layout(PARAMETERS), [], 2)
    for k, agent in enumerate("abc"):
        of_a_run(agent, blocks, k)
    card = consensus(capsys, "run", "--out", "out.safetensors")
    merged = load_file("out.safetensors")
    owners = np.average([theta_of("a"), theta_of("c")], axis=0, weights=[1.0, 3.0])
    np.testing.assert_allclose(merged["w"].ravel(), owners[:4], atol=1e-6)
    np.testing.assert_allclose(merged["b"], theta_of("b")[4:], atol=1e-6)
    assert card["trained_by"] == {"w": ["a", "c"], "b": ["b"]}
    assert "trained by a, c: w" in Consensus(**card).lines()


def test_without_anybody_who_trains_a_block_there_is_no_consensus(capsys):
    blocks = blocks_of(Layout(PARAMETERS), [], 2)
    for k, agent in ((0, "a"), (2, "c")):
        of_a_run(agent, blocks, k)
    assert run_command(["consensus", "run"]) == 2
    err = capsys.readouterr().err
    assert "no agent that was found trains b: the agents of the shards 1/4, 3/4 do; start one" in err
    assert not Path("consensus.safetensors").exists()


def test_folders_that_exchanged_other_parameters_are_of_two_runs(capsys):
    of_a_run("a", blocks_of(Layout(PARAMETERS), ["b"]), 0)
    of_a_run("b", blocks_of(Layout(PARAMETERS)), 1)
    assert run_command(["consensus", "run"]) == 2
    assert "exchanged other parameters" in capsys.readouterr().err
