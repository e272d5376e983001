"""Your own arrays: x and y in an .npz file, or in train.npz and test.npz in a folder.

x: uint8 is divided by 255 inside the model, all else becomes float32. y: integers are labels, learned by a CNN from
images (samples, height, width[, channels]) and by an MLP from all else; floats are values, learned by an MLP. classes:
how many labels there are, a single integer, for sites of which some lack a label; else one more than the largest.
"""

import zipfile
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data import Dataset, hold_out
from agents.learning.data.sources import DAMAGED, ChosenRows, StreamedRows
from agents.learning.errors import TaskError
from agents.learning.task import Task
from agents.learning.tasks.models import (
    Apply,
    Layers,
    Model,
    classification,
    cnn,
    mlp,
    of_any_width,
    predicting,
    regression,
    widths,
)

HIDDEN = 128


class Split(NamedTuple):
    """The samples of train or test: x is left on disk, y is read as int32 or float32. classes: 0 if not given."""

    x: StreamedRows | ChosenRows
    y: np.ndarray
    classes: int = 0

    def part(self, rows: np.ndarray) -> "Split":
        """Some of its rows, increasing; x as the device will hold it."""
        dtype = np.dtype(np.uint8 if self.x.dtype == np.uint8 else np.float32)
        return Split(ChosenRows(self.x, rows, dtype), self.y[rows], self.classes)


def task(data: Path) -> Task:
    """The task that the arrays in a file or folder suggest. Of a single file a fifth is held out to test on."""
    train, test = read(data)
    (_, *shape), (_, *values) = train.x.shape, train.y.shape
    if (*test.x.shape[1:], *test.y.shape[1:]) != (*shape, *values) or test.y.dtype != train.y.dtype:
        train_is, test_is = (f"x {s.x.shape[1:]}, y {s.y.dtype} {s.y.shape[1:]} a sample" for s in (train, test))
        raise TaskError(
            f"{data}: train and test must hold x and y of the same shape and kind: got {train_is} and {test_is}"
        )
    classes = count_classes(data, train, test) if np.issubdtype(train.y.dtype, np.integer) else 0
    if not classes and max(train.classes, test.classes):
        raise TaskError(f"{data}: labels y must be integers where classes counts them: got {train.y.dtype} values")
    image = bool(classes) and len(shape) in (2, 3)

    def model(share: float) -> Model:
        if image:
            height, width, channels = [*shape, 1][:3]
            init, apply = cnn(height, width, channels, classes, share)
        else:
            (hidden,) = widths(share, HIDDEN)
            init, apply = mlp(prod(shape), hidden, classes or prod(values))
        outputs = partial(normalized, apply, image)
        return init, *(classification(outputs) if classes else regression(outputs)), predicting(outputs)

    rows: tuple[Dataset, Dataset] = ({"x": train.x, "y": train.y}, {"x": test.x, "y": test.y})
    return of_any_width(model, *rows, optimizer="adam", learning_rate=1e-3, name=data.stem)


def count_classes(data: Path, train: Split, test: Split) -> int:
    """Labels run from 0 to one less than this. Raises TaskError."""
    labels = np.concatenate([train.y, test.y])
    if labels.ndim != 1:
        raise TaskError(f"{data}: labels y must have shape (samples,): got {labels.shape}; store values as floats")
    given, came = max(train.classes, test.classes), f"{labels.min()} to {labels.max()}"
    if labels.min() < 0 or labels.max() >= (given or len(labels)):
        most = given - 1 if given else "classes - 1"
        raise TaskError(f"{data}: labels y must be 0, 1, ... {most}: got {came}; store values as floats")
    return given or int(labels.max()) + 1


def normalized(apply: Apply, image: bool, params: Layers, x: jax.Array) -> jax.Array:
    """A model's outputs for x as stored."""
    x = x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
    return apply(params, x[..., None] if image and x.ndim == 3 else x)


def read(data: Path) -> tuple[Split, Split]:
    """Train and test: two files, or one of which a fifth is held out. Raises TaskError."""
    if data.is_dir():
        train, test = (read_file(data / f"{name}.npz") for name in ("train", "test"))
        return train.part(np.arange(len(train.y))), test.part(np.arange(len(test.y)))
    both = read_file(data)
    if len(both.y) < 2:
        raise TaskError(f"{data} must hold at least 2 samples, to train and to test on: got {len(both.y)}")
    kept, held = hold_out(len(both.y))
    return both.part(kept), both.part(held)


def read_file(path: Path) -> Split:
    """x and y of one file. Raises TaskError."""
    x, y = open_member(path, "x"), open_member(path, "y")
    if x.shape[0] != y.shape[0]:
        raise TaskError(f"{path} must hold as many x as y: got {x.shape[0]} and {y.shape[0]}")
    return Split(x, y[:].astype(np.float32 if y.dtype.kind == "f" else np.int32), stated_classes(path))


def stated_classes(path: Path) -> int:
    """The file's `classes`, 0 if it has none. Raises TaskError."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("classes.npy") as stream:
            count = np.lib.format.read_array(stream, allow_pickle=False)
    except KeyError:
        return 0
    except (*DAMAGED, ValueError) as error:
        raise TaskError(f"{path}: classes must be one positive integer: it can't be read ({error})") from error
    if count.dtype.kind not in "iu" or count.size != 1 or count.item() < 1:
        raise TaskError(f"{path}: classes must be one positive integer: got {count.dtype} {count.tolist()}")
    return int(count.item())


def open_member(path: Path, name: str) -> StreamedRows:
    """One array of an .npz file, by rows. Raises TaskError."""

    def opened() -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype]:
        with zipfile.ZipFile(path) as archive:  # the member keeps the file open
            stream = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return stream, *header(stream)

    try:
        stream, shape, fortran, dtype = opened()
        stream.close()
    except FileNotFoundError as error:
        expected = "--data takes an .npz file with arrays x and y, or a folder of train.npz and test.npz"
        raise TaskError(f"no file {path}: {expected}") from error
    except KeyError as error:
        raise TaskError(f"{path} must hold arrays x and y: it has no {name}; see numpy.savez") from error
    except (*DAMAGED, ValueError) as error:
        raise TaskError(f"{path} is not a readable .npz file ({error}): write it with numpy.savez") from error
    if fortran or not shape or 0 in shape or dtype.kind not in "buif":
        order = " in Fortran order (see numpy.ascontiguousarray)" if fortran else ""
        expected = "numbers in C order whose first axis is the sample"
        raise TaskError(f"{path}: {name} must be {expected}: got {dtype} {shape}{order}")
    return StreamedRows(lambda: opened()[0], shape, dtype, f"{name} in {path}")
