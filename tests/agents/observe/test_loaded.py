"""A consensus model comes back from its file as params and task, whatever its agents held; or an error says why not."""

from pathlib import Path

import jax
import numpy as np
import pytest

from agents import Task, load_consensus, load_task
from agents.checkpoint import CheckpointError
from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.observe.card import CONSENSUS, Consensus, MismatchError, write_model
from agents.subnetworks import subnetworks, wider


def written(folder: Path, task: Task, named: str, width: float = 1.0, submodel: str = "none", own: str = "") -> object:
    """The params of a model that is now in this folder's file."""
    learner = make_learner(task)
    params = learner.init(3).params
    layout = [(name, shape) for name, shape, _ in learner.spec if name != own]
    theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])[: sum(np.prod(s) for _, s in layout)]
    card = Consensus("run", named, width=width, submodel=submodel, own=own)
    write_model(folder / CONSENSUS, theta.astype(np.float32), [(n, tuple(map(int, s))) for n, s in layout], card)
    return params


@pytest.mark.parametrize(("width", "submodel"), [(1.0, "none"), (2.0, "none"), (1.0, "width:4"), (2.0, "width:4")])
@pytest.mark.parametrize("part", [False, True])
def test_a_model_comes_back_as_it_was(tmp_path: Path, width: float, submodel: str, part: bool) -> None:
    task = wider(load_task("digits"), width)
    held = subnetworks(task, 4)[0] if part and submodel != "none" else task
    params = written(tmp_path, held, "digits", width, submodel)
    loaded = load_consensus(tmp_path if part else tmp_path / CONSENSUS)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), loaded.params, params))
    batch = {"x": task.test_data["x"][:50], "y": task.test_data["y"][:50]}
    right = np.asarray(loaded.task.predict(loaded.params, batch)).argmax(axis=-1) == batch["y"]
    assert right.mean() == pytest.approx(float(loaded.task.metrics(loaded.params, batch)["accuracy"]))


TASK_FILE = """
from agents import load_task
from agents.subnetworks import wider
task = wider(load_task("digits"), 0.5)
"""


def test_a_task_file_is_loaded_where_we_name_it_or_the_settings_beside_the_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TASK_FILE)
    params = written(tmp_path, load_task(file), "/elsewhere/mine.py")
    with pytest.raises(MismatchError, match=r"of the task 'mine\.py', which is no built-in one: give it too"):
        load_consensus(tmp_path)
    for loaded in (load_consensus(tmp_path, file), load_consensus(tmp_path, load_task(file))):
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), loaded.params, params))
    (tmp_path / "config.toml").write_text(f'task = "{file}"\n')
    assert load_consensus(tmp_path).task.name == "digits"


OF_DATA = """
import jax.numpy as jnp, numpy as np
from agents import Task
def task(data):
    x = np.loadtxt(data, ndmin=2, dtype=np.float32)
    init = lambda key: {"w": jnp.zeros(x.shape[1])}
    loss = lambda params, batch, key: jnp.mean((batch["x"] @ params["w"]) ** 2)
    return Task(init, loss, lambda params, batch: {}, {"x": x}, {"x": x})
"""


def test_data_is_found_where_the_settings_beside_the_model_have_it(tmp_path: Path, monkeypatch) -> None:
    file, data, other = (tmp_path / name for name in ("mine.py", "data.txt", "other.py"))
    for each, text in ((file, OF_DATA), (other, OF_DATA), (data, "1 2 3\n4 5 6\n")):
        each.write_text(text)
    written(tmp_path, load_task(file, data), str(file))
    (tmp_path / "config.toml").write_text(f'task = "{file}"\ndata = "{data}"\n')
    monkeypatch.chdir(tmp_path)
    for given in (None, file, "mine.py"):
        assert load_consensus(tmp_path, given).params["w"].shape == (3,)
    with pytest.raises(TaskError, match="needs to know where its data is"):  # The settings are of another task.
        load_consensus(tmp_path, other)
    assert load_consensus(tmp_path, other, data).params["w"].shape == (3,)
    data.rename(tmp_path / "moved.txt")
    with pytest.raises(TaskError, match="needs to know where its data is"):
        load_consensus(tmp_path)


def test_what_is_no_such_model_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no consensus model at"):
        load_consensus(tmp_path)
    (tmp_path / CONSENSUS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is no consensus model that `agent` has written"):
        load_consensus(tmp_path)
    written(tmp_path, wider(load_task("digits"), 2), "digits")
    with pytest.raises(
        MismatchError, match=r"the task has hidden/bias \(64,\).* where the file has hidden/bias \(128,\)"
    ):
        load_consensus(tmp_path)
    written(tmp_path, load_task("digits"), "digits", own="output/weights")
    with pytest.raises(MismatchError, match="lacks output/weights, which stayed with the agents"):
        load_consensus(tmp_path)
    file = tmp_path / CONSENSUS
    written(tmp_path, load_task("digits"), "digits")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="the checksum differs"):
        load_consensus(tmp_path)
