"""Small data files for the tests, written by hand."""

import gzip
from pathlib import Path

import numpy as np


def write_idx(path: Path, values: np.ndarray) -> None:
    """An IDX file of bytes; compressed if its name ends so."""
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        file.write(header + values.astype(np.uint8).tobytes())


def bright_images(count: int, size: int = 12, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, size, size), uint8, whose brightest row of blocks is the label (count,)."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, count)
    images = random.integers(0, 64, (count, size, size))
    rows = np.arange(size) * classes // size
    return (images + 128 * (rows[None, :, None] == labels[:, None, None])).astype(np.uint8), labels


def write_mnist(folder: Path, train: int = 400, test: int = 100, first_label: int = 0) -> Path:
    """A folder like MNIST's, one half of it compressed."""
    images, labels = bright_images(train + test)
    write_idx(folder / "train-images-idx3-ubyte.gz", images[:train])
    write_idx(folder / "train-labels-idx1-ubyte", labels[:train] + first_label)
    write_idx(folder / "t10k-images-idx3-ubyte", images[train:])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels[train:] + first_label)
    return folder
