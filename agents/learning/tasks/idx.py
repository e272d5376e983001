"""Any image set in MNIST's IDX format (yann.lecun.com/exdb/mnist) with a small CNN; Fashion-MNIST by default."""

import gzip
from collections.abc import Callable
from functools import partial
from glob import escape
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data.sources import DAMAGED, StreamedRows
from agents.learning.errors import TaskError
from agents.learning.task import Task
from agents.learning.tasks.models import Layers, Model, classification, cnn, of_any_width, predicting

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SPLITS = (("train",), ("t10k", "test"))  # EMNIST calls t10k test
UINT8 = 0x08
FILES = "train- and t10k-, images-idx3-ubyte and labels-idx1-ubyte"


def task(data: Path = FASHION_MNIST) -> Task:
    """The images in a folder; x: uint8 (samples, height, width), y: int32 (samples,) from 0.

    data: the folder, or in a folder of several sets, as EMNIST's, how one set's names begin: emnist/emnist-letters.
    """
    (images, labels), (test_images, test_labels) = (read_split(data, names) for names in SPLITS)
    first, last = labels.min(), labels.max()
    if test_labels.min() < first or test_labels.max() > last:
        came = f"{test_labels.min()} to {test_labels.max()}"
        raise TaskError(f"{data}: test labels must be among the training labels, {first} to {last}: got {came}")
    (_, height, width), (_, *test_size) = images.shape, test_images.shape
    if test_size != [height, width]:
        raise TaskError(f"{data}: test images must be as large as training images, {height}x{width}: got {test_size}")

    def model(share: float) -> Model:
        init, apply = cnn(height, width, 1, int(last - first) + 1, share)
        outputs = partial(on_pixels, apply)
        return init, *classification(outputs), predicting(outputs)

    train, test = {"x": images, "y": labels - first}, {"x": test_images, "y": test_labels - first}
    name = "fashion-mnist" if data == FASHION_MNIST else data.name
    return of_any_width(model, train, test, optimizer="momentum", learning_rate=0.03, name=name)


def on_pixels(apply: Callable[[Layers, jax.Array], jax.Array], params: Layers, x: jax.Array) -> jax.Array:
    """A CNN's outputs for bytes (batch, height, width)."""
    return apply(params, (x.astype(jnp.float32) / 255)[..., None])


def read_split(data: Path, names: tuple[str, ...]) -> tuple[StreamedRows, np.ndarray]:
    """The images of one split, left on disk, and its labels, read."""
    images, labels = (
        open_idx(find(data, names, kind), dimensions) for kind, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
    )
    if images.shape[0] != labels.shape[0]:
        raise TaskError(
            f"a split must hold as many images as labels: got {images.shape[0]} in {images.source} and"
            f" {labels.shape[0]} in {labels.source}; take both from one set"
        )
    return images, labels[:].astype(np.int32)


def find(data: Path, names: tuple[str, ...], kind: str) -> Path:
    """The one file of a split, plain or compressed. Raises TaskError."""
    folder, prefix = (data, "") if data.is_dir() else (data.parent, data.name)
    wanted = [f"{name}-{kind}-ubyte" for name in names]
    found = {
        path.name.removesuffix(".gz"): path
        for end in (".gz", "")  # plain takes precedence
        for name in wanted
        for path in folder.glob(f"{escape(prefix)}*{name}{end}")
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        several = ", ".join(sorted(found))
        raise TaskError(f"{folder} holds several image sets: {several}; add to the path how one's names begin")
    hint = "install Debian's package dataset-fashion-mnist, or " if data == FASHION_MNIST else ""
    raise TaskError(f"no file {' or '.join(wanted)}[.gz] in {data}: {hint}pass --data a folder with {FILES}")


def open_idx(path: Path, dimensions: int) -> StreamedRows:
    """The bytes in an IDX file: two zeros, type, dimensions, the shape as big-endian uint32, data. Raises TaskError."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            header = stream.read(4 + 4 * dimensions)
    except DAMAGED as error:
        raise TaskError(f"{path} is not readable ({error}): fetch it again") from error
    shape = tuple(np.frombuffer(header[4:].ljust(4 * dimensions, b"\0"), ">u4").tolist())
    if header[:4] != bytes((0, 0, UINT8, dimensions)) or 0 in shape:
        came = header.hex(" ")
        raise TaskError(f"{path} must be an IDX file of bytes in {dimensions} dimensions: its header is {came}")

    def at_first_row() -> IO[bytes]:
        stream: IO[bytes] = opener(path, "rb")
        stream.read(len(header))
        return stream

    return StreamedRows(at_first_row, shape, np.dtype(np.uint8), str(path))
