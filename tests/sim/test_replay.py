"""Real runs over sockets, replayed from the tapes that their agents left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from agents import load_run, load_task
from agents.checkpoint import FILE as CHECKPOINT
from agents.checkpoint import CheckpointError, load_theta
from agents.recorder import FILE, PUBLISH, RECORD, SAVE, TRAIN, Recording
from agents.settings import Gossiping, Learning, Placing
from agents.subnetworks import nested
from agents.values import Capacity
from sim import replay
from sim.recordings import AgentRecordings, ReplayError
from tests.trained import trained
from tests.xla_flags import as_users_do

TWO_CHUNKS = """
import jax, jax.numpy as jnp, numpy as np, optax
from agents import Task

def init(key):
    return {"w": 0.05 * jax.random.normal(key, (600, 600)), "b": jnp.zeros(10)}

def loss(params, batch, key):
    logits = jax.nn.relu(batch["x"] @ params["w"])[:, :10] + params["b"][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()

def metrics(params, batch):
    return {"loss": loss(params, batch, None)}

random = np.random.default_rng(0)
data = {"x": random.standard_normal((256, 600)).astype("f4"), "y": random.integers(0, 10, 256)}
task = Task(init=init, loss=loss, metrics=metrics, train=data, test=data, batch_size=16)
"""


def launch(folder, *flags, environment=None):
    """`agent launch` for real: its folder."""
    command = [sys.executable, "-m", "agents.command.cli", "launch", "--run-dir", str(folder), "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["consensus"]["missing"] == []
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Of agents that compile as users' do, and so does who replays them exactly."""
    flags = [
        "-n",
        "4",
        "--task",
        "digits",
        "--partition",
        "dirichlet:0.5",
        "--alpha",
        "0.6",
        "--steps",
        "120",
        "--every",
        "3steps",
    ]
    return launch(tmp_path_factory.mktemp("run") / "digits", *flags, environment=as_users_do())


def test_a_real_run_replayed_exactly_is_equal_bit_for_bit(run_dir):
    run, history = load_run(run_dir), replay(run_dir, exact=True, progress=False)
    assert history.facts["notes"] == [] and history.facts["names"] == run.agents
    assert history.facts["steps"] == run.steps.tolist()
    assert history.theta.tobytes() == run.theta.tobytes()
    assert history.exchanges[-1] > 40


def test_a_real_run_replayed_vmapped_agrees_to_rounding(run_dir):
    run, history = load_run(run_dir), replay(run_dir, progress=False)
    assert np.linalg.norm(history.theta - run.theta) <= 1e-4 * np.linalg.norm(run.theta)
    assert len(history.rounds) > 20 and history.consensus_accuracy[-1] > history.consensus_accuracy[0]


def test_models_of_several_chunks_too(tmp_path):
    """As agents compile in one process, and who replays them exactly in others: with the tests' flags."""
    (tmp_path / "task.py").write_text(TWO_CHUNKS)
    folder = trained(tmp_path / "run", 3, task=str(tmp_path / "task.py"), steps=30, every="2steps", optimizer="adam")
    assert replay(folder, exact=True, progress=False).theta.tobytes() == load_run(folder).theta.tobytes()


def test_few_bits_and_a_rule_with_a_state_too(tmp_path):
    """What the codec learned and what the rule remembers are those of the run, chunk by chunk."""
    (tmp_path / "task.py").write_text(TWO_CHUNKS)
    few = {"steps": 20, "every": "2steps", "optimizer": "adam", "codec": "lattice:4", "rule": "drift"}
    folder = trained(tmp_path / "few", 3, task=str(tmp_path / "task.py"), **few)
    history = replay(folder, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == load_run(folder).theta.tobytes()


@pytest.mark.parametrize(("codec", "overlap"), [("lowrank:2+lattice:4/3", "yes"), ("auto", "no")])
def test_whatever_codec_each_exchange_was_in(tmp_path, codec, overlap):
    """Its turns, its directions and what is learned of them follow from the offers, in their order."""
    folder = trained(tmp_path / "run", 3, task="digits", steps=60, every="1steps", codec=codec, overlap=overlap)
    history = replay(folder, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == load_run(folder).theta.tobytes()


def test_agents_that_go_on_with_other_words_and_from_an_older_checkpoint_too(tmp_path):
    """Each incarnation trains by its own steps, and so its own schedule, and exchanges in its own codec."""
    how = {"task": "digits", "every": "2steps", "optimizer": "momentum"}
    folder = trained(tmp_path / "run", 2, steps=10, **how)
    kept = shutil.copytree(folder, tmp_path / "kept")
    trained(folder, 2, steps=16, **how)
    for checkpoint in kept.glob("agents/*/checkpoint*"):
        shutil.copy(checkpoint, folder / checkpoint.relative_to(kept))
    trained(folder, 2, steps=20, **how, learning_rate=0.2, batch_size=16, codec="lattice:4")
    history = replay(folder, progress=False)
    assert history.facts["notes"] == [] and history.facts["steps"] == [20, 20]
    assert history.theta.tobytes() == load_run(folder).theta.tobytes()


def test_agents_of_unlike_codecs_are_replayed_exactly_whoever_comes_first(tmp_path):
    each = [{"codec": codec} for codec in ("float32", "lattice:3")]
    folder = trained(tmp_path / "run", 2, each, task="digits", steps=20, every="2steps")
    history = replay(folder, progress=False)
    assert history.facts["replay"] == "exact" and history.theta.tobytes() == load_run(folder).theta.tobytes()


def test_agents_of_a_rule_of_one_s_own_are_replayed_exactly(tmp_path):
    """Vmapped it would be asked at each step, and in agents where exchanges brought something alone."""
    task = str(Path(__file__).parents[2] / "examples" / "own_partition.py")
    folder = trained(tmp_path / "run", 2, task=task, steps=12, every="4steps", optimizer="momentum")
    history = replay(folder, progress=False)
    assert history.facts["replay"] == "exact" and history.theta.tobytes() == load_run(folder).theta.tobytes()


def incarnation(number, resumed, *ops):
    """A recording of these ops, each save one more; resumed: (incarnation, save)."""
    records = np.zeros(len(ops), RECORD)
    records["op"], records["chunk"] = ops, np.cumsum(np.equal(ops, SAVE))
    return Recording({"incarnation": number, "step": 0, "resumed": resumed}, [], records)


@pytest.mark.parametrize(
    ("before", "resumed", "back"),
    [
        ((TRAIN, SAVE, TRAIN, PUBLISH, SAVE), (1, 2), False),
        ((TRAIN, SAVE, TRAIN, PUBLISH, SAVE), (1, 1), True),
        ((TRAIN, SAVE, TRAIN), (1, 1), True),
        ((TRAIN, SAVE, PUBLISH), (1, 1), True),
        ((TRAIN, SAVE), (0, 0), True),
        ((TRAIN,), (0, 0), True),
        ((), (0, 0), False),
        ((SAVE,), (0, 0), False),
    ],
)
def test_an_agent_went_back_where_what_it_did_is_undone(before, resumed, back):
    """Vmapped, its optimizer's state would not go back with it."""
    incarnations = [incarnation(1, (0, 0), *before), incarnation(2, resumed, TRAIN, SAVE)]
    assert AgentRecordings("a", Learning(), Gossiping(), Placing(), incarnations).went_back == back


CAPACITIES = 0.5, 1.0, 0.25


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """The folder of three agents that hold nested slices of a model, in a codec and by a rule that keep something."""
    each = [{"capacity": Capacity((capacity,))} for capacity in CAPACITIES]
    how = {"task": "digits", "steps": 60, "every": "2steps", "codec": "lattice:4", "rule": "drift"}
    return trained(tmp_path_factory.mktemp("nested") / "run", 3, each, submodel="nested", **how)


def test_of_agents_that_hold_slices_of_a_model_too(sliced):
    """In the common order of coordinates, with nothing where an agent holds nothing."""
    history, (map, _) = replay(sliced, progress=False), nested(load_task("digits"))
    assert history.facts["notes"] == [] and history.theta.shape == (3, map.size)
    for name, capacity, theta in zip(history.facts["names"], CAPACITIES, history.theta, strict=True):
        saved = load_theta(sliced / "agents" / name / CHECKPOINT)
        assert theta.tobytes() == map.padded(saved, map.blocks.of_agent(0, capacity)).tobytes()
    assert history.consensus_distance[-1] < 1e-5 and history.consensus_accuracy[-1] > 0.7


def test_slices_of_unlike_size_are_no_one_array_and_without_the_whole_model_there_is_nothing_to_evaluate(
    sliced, tmp_path
):
    with pytest.raises(CheckpointError, match=r"agents of unlike --capacity.*sim\.replay"):
        load_run(sliced)
    folder = shutil.copytree(sliced, tmp_path / "copy")
    (folder / "agents" / "agent-1" / FILE).unlink()
    with pytest.raises(ReplayError, match=r"no agent of --capacity 1 left a recording"):
        replay(folder, progress=False)


def test_a_missing_tape_is_named_and_the_rest_replayed_as_far_as_it_goes(run_dir, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "copy")
    (folder / "agents" / "agent-2" / FILE).unlink()
    for exact in (True, False):
        history = replay(folder, exact=exact, progress=False)
        assert history.facts["names"] == ["agent-0", "agent-1", "agent-3"]
        assert any("agent-2" in note for note in history.facts["notes"])
        assert np.isfinite(history.theta).all() and max(history.facts["steps"]) > 0


def test_a_folder_without_tapes_is_refused(tmp_path):
    with pytest.raises(ReplayError, match=r"no agent left a recording under"):
        replay(tmp_path)


def test_of_agents_that_keep_parameters_to_themselves_too(tmp_path):
    """Each holds its own ones at the end, and all hold the same of the others; who launched them has their accuracy."""
    flags = ["-n", "3", "--task", "digits", "--partition", "labels:4", "--steps", "200", "--private", "output/*"]
    folder = launch(tmp_path / "run", *flags)
    run = load_run(folder)
    assert replay(folder, progress=False).theta.tobytes() == run.theta.tobytes()
    ends = [load_file(folder / "agents" / agent / "consensus.safetensors") for agent in run.agents]
    for name in ends[0]:
        equal = all(np.allclose(end[name], ends[0][name], atol=1e-5) for end in ends)
        assert equal == name.startswith("hidden/")
    assert sorted(load_file(folder / "consensus.safetensors")) == ["hidden/bias", "hidden/weights"]
    report = json.loads((folder / "report.json").read_text())
    assert all(agent["accuracy"] > 0.2 for agent in report["agents"]) and report["mean_accuracy"] > 0.2
