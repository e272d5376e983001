"""What a simulated run leaves behind: its curves, the agents' last vectors, and the facts of the run.

Read by anyone without JAX; saved as one safetensors file.
"""

import json
import os
from dataclasses import dataclass, field, fields
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topology.errors import GossamerError

Floats = NDArray[np.floating[Any]]

HEADER = "gossamer.history"


class HistoryError(GossamerError, ValueError):
    """Arrays that don't fit together, or a file that isn't a history. One line: what was expected and what came."""


@dataclass(frozen=True, eq=False)
class History:
    """E evaluations of a run of some agents. NaN where an agent wasn't evaluated, or the task has no such metric.

    rounds (E,): when. consensus_distance (E,): sqrt(mean_i ||theta_i - mean||^2). mean_drift (E,): how far the swarm's
    mean has moved from its start, ||mean - mean at 0||. accuracy, loss (E, agents): on the test data.
    consensus_accuracy, consensus_loss (E,): of the merged model. bytes, exchanges (E,): all that was until then.
    theta (agents, params): at the end. edges (M, 2): of the topology at the end, for drawings; may be empty.
    facts: what JSON can hold: task, topology, agents, alpha, protocol, local_steps, seed, ...
    """

    rounds: Floats
    consensus_distance: Floats
    accuracy: Floats
    loss: Floats
    consensus_accuracy: Floats
    consensus_loss: Floats
    mean_drift: Floats
    bytes: NDArray[Any]
    exchanges: NDArray[Any]
    theta: NDArray[np.float32]
    facts: dict[str, Any]
    edges: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))

    def __post_init__(self) -> None:
        if np.ndim(self.theta) != 2 or np.ndim(self.rounds) != 1 or not len(self.rounds):
            raise HistoryError(
                "a history has theta (agents, params) and at least one evaluation: "
                f"got theta of shape {np.shape(self.theta)} and rounds of shape {np.shape(self.rounds)}"
            )
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(ARRAYS, (len(self.rounds),))
        expected |= dict.fromkeys(("accuracy", "loss"), (len(self.rounds), self.agents))
        expected |= {"theta": np.shape(self.theta), "edges": (len(self.edges), 2)}
        for name, shape in expected.items():
            if np.shape(getattr(self, name)) != shape:
                raise HistoryError(f"{name} has shape {shape} in this history: got {np.shape(getattr(self, name))}")

    @property
    def agents(self) -> int:
        """How many there are."""
        return int(self.theta.shape[0])

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each evaluation; of accuracy and loss the agents' mean, least and most."""
        columns: dict[str, NDArray[Any]] = {}
        for name in ARRAYS[:-2]:
            values = getattr(self, name)
            if values.ndim == 1:
                columns[name] = values
            else:
                kinds = (f"{name}_{kind}" for kind in ("mean", "min", "max"))
                columns |= dict(zip(kinds, spread(values), strict=True))
        return notebook_module("pandas").DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically: beside the old one, then over it."""
        from safetensors.numpy import save_file

        path = Path(path)
        try:
            header = {HEADER: json.dumps(self.facts)}
        except (TypeError, ValueError) as error:
            raise HistoryError(f"facts hold only what JSON can: {error}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        save_file({name: np.asarray(getattr(self, name), order="C") for name in ARRAYS}, fresh, header)
        fresh.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote. Raises HistoryError if that's not what the file is, OSError if there is none."""
        from safetensors import SafetensorError, safe_open

        Path(path).stat()
        try:
            with safe_open(path, "numpy") as file:
                facts = json.loads((file.metadata() or {})[HEADER])
                return cls(**{name: file.get_tensor(name) for name in ARRAYS}, facts=facts)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise HistoryError(f"{path} is no history that History.save wrote ({error})") from None

    def plot(self) -> Any:
        """An overview in two to four panels; returns the array of matplotlib Axes. More in `sim.plots`."""
        from sim import plots

        return plots.overview(self)

    def _summary(self) -> list[tuple[str, str]]:
        """What a reader wants to know first: (name, value) pairs."""
        told = [str(self.facts[key]) for key in ("task", "topology", "protocol") if self.facts.get(key)]
        rows = [("run", ", ".join(told))] if told else []
        rows += [("agents", f"{self.agents} of {self.theta.shape[1]:,} parameters"), ("rounds", f"{self.rounds[-1]:g}")]
        mean, _, best = (values[-1] for values in spread(self.accuracy))
        merged = self.consensus_accuracy[-1]
        if not np.isnan(mean):
            rows.append(("accuracy", f"mean {mean:.4f}, best {best:.4f}, merged {merged:.4f}"))
        elif not np.isnan(merged):
            rows.append(("accuracy", f"merged {merged:.4f}"))
        rows.append(("consensus distance", f"{self.consensus_distance[-1]:.4g}"))
        rows.append(("exchanges", f"{int(self.exchanges[-1]):,}, {readable_bytes(self.bytes[-1])}"))
        return rows

    def __repr__(self) -> str:
        return "History\n" + "\n".join(f"  {name:<20}{value}" for name, value in self._summary())

    def _repr_html_(self) -> str:
        cell = "<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>"
        return "<table>" + "".join(cell.format(name, escape(value)) for name, value in self._summary()) + "</table>"


ARRAYS = tuple(item.name for item in fields(History) if item.name != "facts")


def spread(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, least and most over agents, those that are NaN set aside: (E, agents) -> (E,) each, NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    some = count > 0
    mean = np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    low, high = np.where(known, values, np.inf).min(axis=1), np.where(known, values, -np.inf).max(axis=1)
    return np.where(some, mean, np.nan), np.where(some, low, np.nan), np.where(some, high, np.nan)


def readable_bytes(count: float) -> str:
    """1234567 -> "1.23 MB"; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def notebook_module(name: str) -> Any:
    """Import what only notebooks and figures need."""
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(f"{name.split('.')[0]} is missing: pip install gossamer[notebooks]") from None
