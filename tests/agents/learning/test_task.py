"""A task's faults come as one line that names the cause, before anything compiles."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learning.check import check
from agents.learning.data import labels_or_count, load_rows
from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.optimizers import make_optimizer
from agents.learning.task import Task

DATA = {"x": np.ones((8, 3), np.float32), "y": np.zeros(8, np.int64)}


def tiny(**changes) -> Task:
    """A linear model, with changes."""
    fields = {
        "init": lambda key: {"w": jnp.zeros(3)},
        "loss": lambda params, batch, key: jnp.mean(batch["x"] @ params["w"]),
        "metrics": lambda params, batch: {"accuracy": jnp.mean(batch["x"] @ params["w"])},
        "train": DATA,
        "test": DATA,
    }
    return Task(**{**fields, **changes})


FAULTS = [
    ({"loss": lambda params, batch, key: batch["x"] @ params["w"]}, r"loss must return one .*: got float32\[32\]"),
    ({"loss": lambda params, batch, key: batch["y"].sum()}, r"loss must return .*: got int32\[\]"),
    ({"loss": lambda params, batch, key: (jnp.zeros(()), 1)}, r"loss must return .*: got tuple"),
    ({"loss": lambda params, batch, key: batch["z"]}, r"loss\(.*\) failed on a batch of \{x: float32\[32,3\], .*'z'"),
    ({"loss": lambda params, batch: 0.0}, r"loss\(params, batch, key\) failed.*TypeError"),
    ({"metrics": lambda params, batch: jnp.zeros(())}, r"metrics must return a dict .* got float32\[\]"),
    ({"metrics": lambda params, batch: {"a": batch["x"]}}, r"metrics must return .* got \{a: float32\[8,3\]\}"),
    (
        {"metrics": lambda params, batch: {"right": (batch["y"] == 0).sum()}},
        r"float32 scalars .* got \{right: int32\[\]\}",
    ),
    (
        {"metrics": lambda params, batch: {"a": batch["x"].reshape(32, 3).mean()}},
        r"metrics\(.*\) failed on .* float32\[8,3\]",
    ),
    ({"loss": lambda params, batch, key: batch["x"].reshape(32, 3).mean()}, r"loss\(.*\) failed on .* float32\[8,3\]"),
    ({"train": {"x": np.array(["a", "b"])}}, r"a batch holds numbers: the data's field 'x' is <U1; encode it"),
    ({"train": {"x": np.ones((8, 3), ">f4")}}, r"numbers that JAX has: the data's field 'x' is >f4; convert it to"),
    ({"train": {"x": np.ones((8, 3), np.longdouble)}}, r"numbers that JAX has: the data's field 'x' is .*; convert it"),
    ({"test": {"x": np.ones(8, [("a", "f4")])}}, r"numbers that JAX has: the data's field 'x' is \[\('a', '<f4'\)\];"),
    ({"metrics": lambda params, batch: {1: jnp.zeros(())}}, r"metrics must return a dict .* got \{1: float32\[\]\}"),
    ({"init": lambda key: {"w": jnp.zeros((0, 3))}}, r"params must hold a number .* size 0 alone, \{w: float32\[0,3\]"),
    ({"init": lambda key: {"w": jnp.zeros(3, jnp.bfloat16)}}, r"params must be float32: .*'w' as bfloat16"),
    ({"init": lambda key: {"a": {"n": jnp.zeros(3, int)}}}, r"params must be float32: .*'a/n' as int32"),
    ({"init": lambda key: {}}, r"init\(key\) must return a pytree of float32 arrays"),
    ({"init": lambda key: {"f": jnp.tanh}}, r"init\(key\) failed"),
    ({"train": {"x": np.ones((8, 3)), "y": np.ones(7)}}, r"same number of samples .*: got x 8, y 7"),
    ({"test": {"x": np.ones((0, 3))}}, r"test data must have .* at least one: got x 0"),
    ({"train": {"x": [1, 2, 3]}}, r"'x' is a list; try numpy.asarray"),
    ({"train": {}}, r"must be a dict of arrays"),
    ({"train": lambda: 3}, r"must be a dict of arrays .*: got int 3"),
    ({"train": lambda: {}["gone"]}, r"train\(\) failed to load the data: .*test_task\.py, line \d+: KeyError: 'gone'"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_a_fault_is_reported_in_one_line(changes, message) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        check(tiny(**changes))
    assert "\n" not in str(caught.value)
    with pytest.raises(TaskError, match=message):
        make_learner(tiny(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": None}, r"Task\(loss=...\) must be a function"),
        ({"batch_size": 0}, "batch_size must be a positive integer: got 0"),
        ({"batch_size": 32.0}, r"batch_size must be a positive integer: got 32\.0"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number: got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number: got nan"),
        ({"learning_rate": "fast"}, "learning_rate must be a positive number: got 'fast'"),
    ],
)
def test_a_task_is_validated_when_made(changes, message) -> None:
    with pytest.raises(TaskError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.array, jnp.float32])
def test_numbers_of_numpy_count_as_numbers(number) -> None:
    task = tiny(batch_size=np.int64(16), learning_rate=number(0.5), optimizer="sgd")
    assert (type(task.batch_size), task.batch_size) == (int, 16)
    assert (type(task.learning_rate), task.learning_rate) == (float, 0.5)
    transform = make_optimizer(task, "sgd", number(0.25))
    assert transform.update(jnp.ones(3), transform.init(jnp.ones(3)))[0][0] == -0.25


def test_a_loss_without_a_gradient_is_reported_before_it_compiles() -> None:
    def loss(params, batch, key):
        return jax.lax.while_loop(lambda x: x < 3, lambda x: x + jnp.abs(params["w"]).sum() + 1, 0.0)

    with pytest.raises(TaskError, match=r"^the loss has no gradient: ValueError: Reverse-mode .* Try using lax\.scan"):
        make_learner(tiny(loss=loss))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_loss_or_metric_of_another_precision_is_taken_in_float32(dtype) -> None:
    """Mixed precision ends in a loss of its own dtype: it trains and is evaluated."""
    task = tiny(
        loss=lambda params, batch, key: jnp.mean((batch["x"] @ params["w"] - 1).astype(dtype) ** 2),
        metrics=lambda params, batch: {"error": jnp.mean((batch["x"] @ params["w"] - 1).astype(dtype))},
        optimizer="sgd",
        learning_rate=0.1,
    )
    learner = make_learner(task)
    state, losses = learner.train(learner.init(0), DATA, np.zeros((30, 32), np.int32), 0, 0)
    assert losses.dtype == np.float32 and losses[0] == 1 and losses[-1] < 1e-3
    measured = learner.measure(state.params, DATA)
    assert {name: value.dtype for name, value in measured.items()} == {"loss": np.float32, "error": np.float32}
    results = learner.evaluate(state.params, DATA)
    assert set(results) == {"loss", "error"} and abs(results["error"]) < 0.1


def test_check_compiles_nothing() -> None:
    task = tiny()
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax._src.compiler, "compile_or_get_cached", None)
        assert check(task)["w"].shape == (3,)


def test_data_loads_late_and_once() -> None:
    calls = []
    task = tiny(train=lambda: calls.append("train") or DATA)
    assert calls == []
    check(task)
    assert task.train_data is task.train_data is DATA
    assert calls == ["train"]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(TaskError, match=r"no task is called 'digit': name one of digits, fashion-mnist, idx, npz"):
        load_task("digit")


def test_a_task_or_file_with_its_own_data_takes_no_other() -> None:
    with pytest.raises(TaskError, match="a Task carries its own data"):
        load_task(tiny(), "somewhere")
    with pytest.raises(TaskError, match="digits brings its own data: got data 'somewhere'"):
        load_task("digits", "somewhere")
    with pytest.raises(TaskError, match=r"npz needs to know where its data is.*--data PATH"):
        load_task("npz")


HEADER = "import numpy as np\nimport jax.numpy as jnp\nfrom agents.learning.task import Task\n"
MAKE = "Task(lambda key: jnp.zeros(1), lambda p, b, k: p.sum(), lambda p, b: {}, {'x': np.ones(9)}, {'x': np.ones(9)})"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEADER + text)
    return path


@pytest.mark.parametrize(
    "text", [f"task = {MAKE}", f"def task(): return {MAKE}", f"def task(data=None): return {MAKE}"]
)
def test_a_file_defines_a_task_or_a_function(tmp_path, text) -> None:
    check(load_task(write(tmp_path, text)))


def test_a_file_can_use_data_siblings_and_dataclasses(tmp_path) -> None:
    (tmp_path / "beside_it.py").write_text("NAME = 'from beside'")
    text = "from __future__ import annotations\n" + HEADER
    text += "from dataclasses import dataclass\nimport beside_it\n@dataclass\nclass A:\n    x: int = 1\n"
    text += f"def task(data):\n    return {MAKE[:-1]}, name=beside_it.NAME + ' ' + data.name)"
    (tmp_path / "mine.py").write_text(text)
    assert load_task(str(tmp_path / "mine.py"), tmp_path / "folder").name == "from beside folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = undefined", r"mine\.py, line 5: NameError: name 'undefined' is not defined"),
        ("def task():\n    return 1 / 0", r"mine\.py, line 5: ZeroDivisionError"),
        ("x = (", r"mine\.py, line 4: SyntaxError"),
        ("import sys; sys.exit(3)", r"mine\.py, line 4: SystemExit: 3"),
        ("import not_there", r"mine\.py, line 4: ModuleNotFoundError"),
        ("def task(data, more): return 1", r"mine\.py: TypeError"),
        ("tsk = 1", r"mine\.py must define `task`"),
        ("task = 3", r"`task` in .*mine\.py must be a Task or a function that returns one: got int"),
        (f"task = {MAKE}", r"mine\.py brings its own data"),
    ],
)
def test_a_faulty_file_is_reported_with_its_line(tmp_path, text, message) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        load_task(write(tmp_path, text), tmp_path if "data" in text or text == f"task = {MAKE}" else None)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path) -> None:
    with pytest.raises(TaskError, match=re.escape(f"no task file at {tmp_path / 'gone.py'}")):
        load_task(tmp_path / "gone.py")


def test_a_module_beside_the_file_may_be_imported_late(tmp_path) -> None:
    (tmp_path / "late_beside.py").write_text("NAME = 'late'")
    text = f"def task():\n    import late_beside\n    return {MAKE[:-1]}, name=late_beside.NAME)"
    assert load_task(write(tmp_path, text)).name == "late"


HELPER = """import jax.numpy as jnp

def error_of(params, batch):
    raise ValueError("labels go from 0 to 9")

def mismatched(params, batch):
    return batch["x"] @ params["w"]

def asserting(params, batch):
    assert batch["x"].ndim == 3
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("error_of", r"line 4: ValueError: labels go from 0 to 9"),
        ("mismatched", r"line 7: TypeError: .*\(3,\).*"),
        ("asserting", r'line 10: AssertionError: assert batch\["x"\]\.ndim == 3'),
    ],
)
@pytest.mark.parametrize("place", ["loss", "metrics"])
def test_an_exception_of_a_users_code_is_reported_with_its_own_file_and_line(
    tmp_path, function, message, place
) -> None:
    """The loss calls a helper in the module beside the task file: what JAX says of hidden frames is no help."""
    helper = f"helper_{place}_{function}"
    (tmp_path / f"{helper}.py").write_text(HELPER)
    text = f"import {helper}\n"
    text += "def init(key): return {'w': jnp.zeros((7, 2))}\n"
    text += f"def calls(params, batch, key=None): return {helper}.{function}(params, batch)\n"
    text += "def fine(params, batch, key=None): return jnp.zeros(())\n"
    loss, metrics = ("calls", "lambda p, b: {}") if place == "loss" else ("fine", "calls")
    data = "{'x': np.ones((9, 3), np.float32)}"
    text += f"task = Task(init, {loss}, {metrics}, {data}, {data})\n"
    task = load_task(write(tmp_path, text))
    expected = rf"^{place}\(params, batch.*\) failed on a batch of .*: {tmp_path}/{helper}\.py, {message}$"
    with pytest.raises(TaskError, match=expected) as caught:
        make_learner(task)
    assert "\n" not in str(caught.value) and "frames" not in str(caught.value)


def test_an_exception_in_a_module_beside_the_file_is_reported_with_that_modules_line(tmp_path) -> None:
    (tmp_path / "broken_beside.py").write_text("x = 1\ny = x + undefined\n")
    with pytest.raises(TaskError, match=r"^\S+broken_beside\.py, line 2: NameError: name 'undefined'"):
        load_task(write(tmp_path, "import broken_beside"))
    (tmp_path / "unreadable_beside.py").write_text("x = (1,\n")
    with pytest.raises(TaskError, match=r"^\S+unreadable_beside\.py, line 1: SyntaxError: '\(' was never closed"):
        load_task(write(tmp_path, "import unreadable_beside"))


def test_an_exception_of_a_data_function_or_of_rows_is_reported_with_its_line(tmp_path) -> None:
    text = "class Rows:\n    shape, dtype = (9,), np.dtype(np.int64)\n"
    text += "    def __getitem__(self, rows): raise OSError('disk gone')\n"
    text += "def read():\n    return {'x': open('/not/there')}\n"
    text += "def task(): return Task(lambda k: None, lambda p, b, k: 0.0, lambda p, b: {}, {'y': Rows()}, read)\n"
    task = load_task(write(tmp_path, text))
    with pytest.raises(TaskError, match=rf"test\(\) failed .*: {tmp_path}/mine\.py, line 8: FileNotFoundError"):
        _ = task.test_data
    for rows in (lambda: labels_or_count(task.train_data), lambda: load_rows(task.train_data, slice(3))):
        with pytest.raises(TaskError, match=rf"field 'y' failed .*: {tmp_path}/mine\.py, line 6: OSError: disk gone"):
            rows()
