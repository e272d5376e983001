"""The file readers: right, bounded in memory, and clear about damage."""

import gzip
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from files import bright_images, write_idx, write_mnist
from hypothesis import given
from hypothesis import strategies as st

from agents.learning.data import sources
from agents.learning.errors import TaskError
from agents.learning.loading import load_task
from agents.learning.tasks import idx, npz

SUBSETS = st.sets(st.integers(0, 99)).map(lambda chosen: np.array(sorted(chosen), np.int64))


@pytest.fixture(scope="module", params=["idx", "idx.gz", "npz", "npz compressed"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The same array in a file of each kind, with blocks of three rows."""
    values, folder = bright_images(100, 6)[0], tmp_path_factory.mktemp("rows")
    if request.param.startswith("idx"):
        write_idx(folder / f"images.{request.param}", values)
        streamed = idx.open_idx(folder / f"images.{request.param}", 3)
    else:
        save = np.savez_compressed if request.param == "npz compressed" else np.savez
        save(folder / "a.npz", x=values)
        streamed = npz.open_member(folder / "a.npz", "x")
    return values, replace(streamed, block_bytes=3 * 36 + 2)


@given(chosen=SUBSETS)
def test_any_rows_are_those_of_the_array(stored, chosen) -> None:
    values, streamed = stored
    assert (streamed.shape, streamed.dtype) == (values.shape, values.dtype)
    np.testing.assert_array_equal(streamed[chosen], values[chosen])


@given(chosen=SUBSETS, again=st.sets(st.integers(0, 99)))
def test_chosen_rows_compose(stored, chosen, again) -> None:
    values, streamed = stored
    part = sources.ChosenRows(streamed, chosen, np.dtype(np.float32))
    inner = np.array(sorted(i for i in again if i < len(chosen)), np.int64)
    assert part.shape == (len(chosen), 6, 6)
    np.testing.assert_array_equal(part[inner], values[chosen][inner].astype(np.float32))


def test_slices_and_refusals(stored) -> None:
    values, streamed = stored
    np.testing.assert_array_equal(streamed[:], values)
    np.testing.assert_array_equal(streamed[10:90:7], values[10:90:7])
    for wrong in ([3, 2], [1, 1], [-1, 2], [5, 100], [[1]]):
        with pytest.raises(IndexError, match="rows must be a slice or increasing integers from 0 to 99"):
            streamed[np.array(wrong)]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_few_rows_of_a_large_file_take_little_memory(tmp_path, ending) -> None:
    write_idx(tmp_path / f"images{ending}", np.zeros((40_000, 28, 28), np.uint8))  # 31 MB
    images = idx.open_idx(tmp_path / f"images{ending}", 3)
    tracemalloc.start()
    assert images[np.arange(0, 40_000, 4_000)].shape == (10, 28, 28)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * images.block_bytes  # of 30


FASHION = pytest.mark.skipif(not idx.FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist")


@FASHION
def test_fashion_mnist_as_read_by_hand() -> None:
    with gzip.open(idx.FASHION_MNIST / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(idx.FASHION_MNIST / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    task = load_task("fashion-mnist")
    chosen = np.array([0, 1, 4999, 9999])
    np.testing.assert_array_equal(task.test_data["x"][chosen], images[chosen])
    np.testing.assert_array_equal(task.test_data["y"], labels)
    assert task.train_data["x"].shape == (60_000, 28, 28) and task.train_data["x"].dtype == np.uint8
    assert task.name == "fashion-mnist"


def test_labels_that_start_at_one_are_moved_to_zero(tmp_path) -> None:
    task = load_task("idx", write_mnist(tmp_path, first_label=1))
    assert (task.train_data["y"].min(), task.train_data["y"].max()) == (0, 3)


def emnist(folder: Path, *sets: str) -> None:
    write_mnist(folder)
    for file in list(folder.iterdir()):
        for name in sets:
            (folder / f"emnist-{name}-{file.name.replace('t10k', 'test')}").write_bytes(file.read_bytes())
        file.unlink()


def test_one_set_of_several_is_chosen_by_how_its_files_begin(tmp_path) -> None:
    emnist(tmp_path, "letters", "digits")
    assert load_task("idx", tmp_path / "emnist-letters").name == "emnist-letters"
    with pytest.raises(TaskError, match=r"several image sets: emnist-digits-train-images-idx3-ubyte, emnist-letters"):
        load_task("idx", tmp_path)


def test_a_plain_file_goes_before_a_compressed_one(tmp_path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(
        gzip.decompress((tmp_path / "train-images-idx3-ubyte.gz").read_bytes())
    )
    assert load_task("idx", tmp_path).train_data["x"].source == str(tmp_path / "train-images-idx3-ubyte")


def test_a_missing_folder_is_reported(tmp_path, monkeypatch) -> None:
    with pytest.raises(
        TaskError, match=r"no file train-images-idx3-ubyte\[\.gz\] in .*gone: pass --data a folder with"
    ):
        load_task("idx", tmp_path / "gone")
    monkeypatch.setattr(idx, "FASHION_MNIST", tmp_path / "none")
    with pytest.raises(TaskError, match="install Debian's package dataset-fashion-mnist"):
        idx.task(tmp_path / "none")


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "short": content[:-50], "text": b"<html>not found</html>"}[kind])


@pytest.mark.parametrize("kind", ["empty", "short", "text"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_damaged_idx_file_is_reported(tmp_path, name, kind) -> None:
    damage(write_mnist(tmp_path) / name, kind)
    with pytest.raises(TaskError, match=name):
        task = load_task("idx", tmp_path)
        task.train_data["x"][:], task.test_data["x"][:]


def test_idx_files_that_do_not_fit_together_are_reported(tmp_path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.full(100, 9))
    with pytest.raises(TaskError, match="test labels must be among the training labels, 0 to 3: got 9 to 9"):
        load_task("idx", tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(99))
    with pytest.raises(
        TaskError, match=r"as many images as labels: got 100 in .* and 99 in .*; take both from one set"
    ):
        load_task("idx", tmp_path)
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((100, 5, 5)))
    with pytest.raises(TaskError, match=r"several|as large as training images, 12x12: got \[5, 5\]"):
        (tmp_path / "t10k-labels-idx1-ubyte").unlink()
        load_task("idx", tmp_path)


def test_npz_reads_a_folder_or_holds_out_a_fifth(tmp_path) -> None:
    x, y = bright_images(50)
    np.savez(tmp_path / "train.npz", x=x[:40], y=y[:40])
    np.savez(tmp_path / "test.npz", x=x[40:], y=y[40:])
    task = load_task("npz", tmp_path)
    np.testing.assert_array_equal(task.train_data["x"][:], x[:40])
    np.testing.assert_array_equal(task.test_data["y"], y[40:])
    task = load_task("npz", tmp_path / "train.npz")
    assert (task.train_data["x"].shape[0], task.test_data["x"].shape[0]) == (32, 8)
    both = np.concatenate([task.train_data["x"][:], task.test_data["x"][:]])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(x[:40], axis=0))


def test_sites_that_lack_different_labels_state_how_many_there_are_and_train_one_model(tmp_path) -> None:
    x, labels = np.ones((9, 2), np.float32), np.arange(9)
    np.savez(tmp_path / "few.npz", x=x, y=labels % 3, classes=10)
    np.savez(tmp_path / "others.npz", x=x, y=labels, classes=10)
    few, others = (load_task("npz", tmp_path / f"{site}.npz") for site in ("few", "others"))
    shapes = [jax.eval_shape(task.init, jax.random.key(0)) for task in (few, others)]
    assert shapes[0] == shapes[1] and 10 in jax.tree.leaves(shapes[0])[-1].shape


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((9, 2))}, "must hold arrays x and y: it has no y"),
        ({"x": np.ones((9, 2)), "y": np.ones(8)}, "as many x as y: got 9 and 8"),
        ({"x": np.array(["a"] * 9), "y": np.ones(9)}, "x must be numbers in C order"),
        ({"x": np.array([{}] * 9), "y": np.ones(9)}, "x must be numbers in C order"),
        ({"x": np.asfortranarray(np.ones((9, 2))), "y": np.ones(9)}, "see numpy.ascontiguousarray"),
        ({"x": np.ones((9, 2)), "y": np.arange(9) - 1}, "labels y must be 0, 1, .*: got -1 to 7"),
        ({"x": np.ones((9, 2)), "y": np.arange(9) * 1000}, "labels y must be 0, 1, .*: got 0 to 8000"),
        ({"x": np.ones((9, 2)), "y": np.ones((9, 2), int)}, r"labels y must have shape \(samples,\)"),
        ({"x": np.ones((1, 2)), "y": np.ones(1)}, "at least 2 samples"),
        ({"x": np.ones((9, 2)), "y": np.arange(9), "classes": 8}, r"labels y must be 0, 1, \.\.\. 7: got 0 to 8"),
        ({"x": np.ones((9, 2)), "y": np.arange(9), "classes": 9.5}, "classes must be one positive integer: got float"),
        ({"x": np.ones((9, 2)), "y": np.arange(9), "classes": [9, 9]}, "classes must be one positive integer"),
        ({"x": np.ones((9, 2)), "y": np.arange(9), "classes": np.array({}, object)}, "classes must be .*: it can't be"),
        ({"x": np.ones((9, 2)), "y": np.arange(9.0), "classes": 9}, "labels y must be integers .*: got float32 values"),
    ],
)
def test_arrays_that_do_not_fit_are_reported(tmp_path, arrays, message) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TaskError, match=message):
        load_task("npz", tmp_path / "a.npz")


def test_a_missing_or_damaged_npz_is_reported(tmp_path) -> None:
    with pytest.raises(TaskError, match=r"no file .*gone\.npz"):
        load_task("npz", tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("x, y")
    with pytest.raises(TaskError, match=r"text\.npz is not a readable \.npz file"):
        load_task("npz", tmp_path / "text.npz")
    np.savez(tmp_path / "a.npz", x=np.ones((9, 2)), y=np.ones(9))
    np.savez(tmp_path / "train.npz", x=np.ones((9, 2)), y=np.ones(9))
    np.savez(tmp_path / "test.npz", x=np.ones((9, 3)), y=np.ones(9))
    with pytest.raises(
        TaskError, match=r"of the same shape and kind: got x \(2,\), y float32 \(\) a sample and x \(3,\)"
    ):
        load_task("npz", tmp_path)


def test_digits_do_not_import_scikit_learn() -> None:
    code = "import sys, agents.learning.tasks.digits as digits; digits.task(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = [load_task("digits").train_data, load_task("digits").test_data]
    ours = np.concatenate([np.column_stack([part["x"] * 16, part["y"]]) for part in data])
    theirs = np.column_stack([pixels, labels])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    assert [len(part["y"]) for part in data] == [1438, 359]
