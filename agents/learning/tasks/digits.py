"""scikit-learn's 1,797 handwritten digits, 8x8, with an MLP 64-64-10: the smallest built-in task."""

import importlib.util
from pathlib import Path

import numpy as np

from agents.learning.data import hold_out
from agents.learning.task import Task
from agents.learning.tasks.models import Model, classification, mlp, of_any_width, predicting, widths


def task() -> Task:
    """Digits, 80% for training; x: float32 (samples, 64) from 0 to 1, y: int32 (samples,)."""
    pixels, labels = read()
    train, test = ({"x": pixels[rows], "y": labels[rows]} for rows in hold_out(len(labels)))
    return of_any_width(model, train, test, optimizer="momentum", learning_rate=0.1, name="digits")


def model(share: float) -> Model:
    """The MLP with 64 hidden units times share."""
    (hidden,) = widths(share, 64)
    init, apply = mlp(64, hidden, 10)
    return init, *classification(apply), predicting(apply)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 64) and labels (1797,), from scikit-learn's own file: to import it would take over a second."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            table = np.loadtxt(file, delimiter=",", dtype=np.int32)
            return table[:, :-1] / np.float32(16), table[:, -1]
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels.astype(np.int32)
