"""What a simulated run leaves behind: its curves, the agents' last vectors, and the facts of the run.

Read by anyone without JAX; saved as one safetensors file.
"""

import json
import os
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.tensors import of_json, opened, with_checksums
from sim.curves import Floats, notebook_module, readable_bytes, spread
from sim.ending import Ending
from sim.plots.figures import overview
from topology.errors import GossamerError

HEADER, ENDING = "gossamer.history", "gossamer.ending"
METRICS, CONSENSUS_METRICS = "metrics/", "consensus_metrics/"
"""What the names of a task's other metrics begin with in a saved file."""


class HistoryError(GossamerError, ValueError):
    """Arrays that don't fit together, or a file that isn't a history. One line: what was expected and what came."""

    code = "G603"


@dataclass(frozen=True, eq=False)
class History:
    """What a simulated run has measured, at E evaluations.

    NaN where an agent wasn't evaluated, or the task has no such metric.

    rounds (E,): when. consensus_distance (E,): sqrt(mean_i ||theta_i - mean||^2). mean_drift (E,): how far the swarm's
    mean has moved from its start, ||mean - mean at 0||. accuracy, loss (E, agents): on the test data.
    consensus_accuracy, consensus_loss (E,): of the consensus model. metrics {name: (E, agents)}, consensus_metrics
    {name: (E,)}: the same of the task's other metrics. bytes, exchanges (E,): all that was until then.
    theta (agents, params): at the end. edges (M, 2): of the topology at the end, for drawings; may be empty.
    facts: what JSON can hold: task, topology, agents, alpha, protocol, local_steps, seed, ...
    snapshots (S, agents, params), snapshot_rounds (S,): theta over time, where it was asked for, and when that was.
    ending: what `simulate(resume=...)` needs beside theta; None where there is none.
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
    metrics: dict[str, Floats] = field(default_factory=dict)
    consensus_metrics: dict[str, Floats] = field(default_factory=dict)
    snapshots: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    snapshot_rounds: Floats = field(default_factory=lambda: np.empty(0))
    ending: Ending | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.theta) != 2 or np.ndim(self.rounds) != 1 or not len(self.rounds):
            raise HistoryError(
                "a history has theta (agents, params) and at least one evaluation: "
                f"got theta of shape {np.shape(self.theta)} and rounds of shape {np.shape(self.rounds)}"
            )
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(ARRAYS, (len(self.rounds),))
        expected |= dict.fromkeys(("accuracy", "loss"), (len(self.rounds), self.agents))
        expected |= {"theta": np.shape(self.theta), "edges": (len(self.edges), 2)}
        count = len(self.snapshot_rounds)
        expected |= {"snapshots": (count, *np.shape(self.theta)) if count else (0, 0, 0), "snapshot_rounds": (count,)}
        if self.metrics.keys() != self.consensus_metrics.keys():
            raise HistoryError(
                "metrics and consensus_metrics have the same names: "
                f"got {', '.join(self.metrics)} and {', '.join(self.consensus_metrics)}"
            )
        expected |= {f"{METRICS}{name}": (len(self.rounds), self.agents) for name in self.metrics}
        expected |= {f"{CONSENSUS_METRICS}{name}": (len(self.rounds),) for name in self.consensus_metrics}
        tensors = self._tensors()
        for name, shape in expected.items():
            if np.shape(tensors[name]) != shape:
                raise HistoryError(f"{name} has shape {shape} in this history: got {np.shape(tensors[name])}")

    @property
    def agents(self) -> int:
        """How many there are."""
        return int(self.theta.shape[0])

    def of_agents(self, metric: str) -> Floats:
        """A metric of each agent, (E, agents): "accuracy", "loss" or another of the task's. Raises HistoryError."""
        return self._of({"accuracy": self.accuracy, "loss": self.loss, **self.metrics}, metric)

    def of_consensus(self, metric: str) -> Floats:
        """A metric of the consensus model, (E,), as `of_agents`."""
        known = {"accuracy": self.consensus_accuracy, "loss": self.consensus_loss, **self.consensus_metrics}
        return self._of(known, metric)

    @staticmethod
    def _of(known: dict[str, Floats], metric: str) -> Floats:
        if metric not in known:
            raise HistoryError(f"this history has the metrics {', '.join(known)}: got {metric!r}")
        return known[metric]

    def _tensors(self) -> dict[str, NDArray[Any]]:
        """All arrays by the names under which they are saved."""
        tensors = {name: getattr(self, name) for name in ARRAYS}
        tensors |= {f"{METRICS}{name}": values for name, values in self.metrics.items()}
        return tensors | {f"{CONSENSUS_METRICS}{name}": values for name, values in self.consensus_metrics.items()}

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each evaluation; of each metric the agents' mean, least and most."""
        columns: dict[str, NDArray[Any]] = {}
        for name, values in self._tensors().items():
            if name in NO_COLUMNS:
                continue
            label = name.removeprefix(METRICS)
            if name.startswith(CONSENSUS_METRICS):
                label = f"{name.removeprefix(CONSENSUS_METRICS)}_consensus"
            if values.ndim == 1:
                columns[label] = values
            else:
                kinds = (f"{label}_{kind}" for kind in ("mean", "min", "max"))
                columns |= dict(zip(kinds, spread(values), strict=True))
        return notebook_module("pandas").DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with checksums, atomically: beside the old one, then over it. Raises OSError."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        path = Path(path)
        try:
            header = {HEADER: json.dumps(self.facts)}
            arrays, rest = ({}, None) if self.ending is None else self.ending.saved()
            header |= {ENDING: json.dumps(rest)}
        except (TypeError, ValueError, RecursionError) as error:
            raise HistoryError(f"facts hold only what JSON can: {error}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        tensors = self._tensors() | {f"{ENDING}/{name}": array for name, array in arrays.items()}
        tensors = {name: np.asarray(values, order="C") for name, values in tensors.items()}
        try:
            save_file(tensors, fresh, with_checksums(tensors, header))
            fresh.replace(path)
        except SafetensorError as error:
            raise OSError(f"can't write {path}: {error}") from None
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote. Raises HistoryError if that's not what the file is, OSError if there is none."""
        Path(path).stat()
        try:
            with opened(Path(path)) as file:
                facts, rest = of_json(file.metadata[HEADER]), of_json(file.metadata.get(ENDING, "null"))
                if not isinstance(facts, dict):
                    raise ValueError("its facts are no map")
                names = file.names()
                arrays = {name: file.array(name) for name in ARRAYS if name in names or name not in LATER}
                metrics, merged, kept = (
                    {name.removeprefix(kind): file.array(name) for name in names if name.startswith(kind)}
                    for kind in (METRICS, CONSENSUS_METRICS, f"{ENDING}/")
                )
                ending = None if rest is None else Ending.loaded(kept, rest)
                return cls(**arrays, facts=facts, metrics=metrics, consensus_metrics=merged, ending=ending)
        except (OSError, LookupError, ValueError, TypeError, ArithmeticError) as error:
            raise HistoryError(f"{path} is no history that History.save wrote ({error})") from None

    def plot(self) -> Any:
        """An overview in two to four panels; returns the array of matplotlib Axes. More in `sim.plots`."""
        return overview(self)

    def _summary(self) -> list[tuple[str, str]]:
        """What a reader wants to know first: (name, value) pairs."""
        names = [str(self.facts[key]) for key in ("task", "topology", "protocol") if self.facts.get(key)]
        rows = [("run", ", ".join(names))] if names else []
        rows += [("agents", f"{self.agents} of {self.theta.shape[1]:,} parameters"), ("rounds", f"{self.rounds[-1]:g}")]
        last = {name: self._last(name, best=name == "accuracy") for name in ("accuracy", *self.metrics, "loss")}
        if last["accuracy"]:
            del last["loss"]
        rows += [(name, text) for name, text in last.items() if text]
        rows.append(("consensus distance", f"{self.consensus_distance[-1]:.4g}"))
        rows.append(("exchanges", f"{int(self.exchanges[-1]):,}, {readable_bytes(self.bytes[-1])}"))
        return rows

    def _last(self, metric: str, best: bool) -> str:
        """The last values of a metric; "" where there are none. best: whether the most is the best."""
        mean, _, most = (values[-1] for values in spread(self.of_agents(metric)))
        merged = self.of_consensus(metric)[-1]
        parts = [f"mean {mean:.4f}"] if not np.isnan(mean) else []
        parts += [f"best {most:.4f}"] if best and parts else []
        return ", ".join(parts + ([f"merged {merged:.4f}"] if parts or not np.isnan(merged) else []))

    def __repr__(self) -> str:
        return "History\n" + "\n".join(f"  {name:<20}{value}" for name, value in self._summary())

    def _repr_html_(self) -> str:
        cell = "<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>"
        return "<table>" + "".join(cell.format(name, escape(value)) for name, value in self._summary()) + "</table>"


NO_ARRAYS = ("facts", "metrics", "consensus_metrics", "ending")
NO_COLUMNS = ("theta", "edges", "snapshots", "snapshot_rounds")
LATER = ("snapshots", "snapshot_rounds")
"""Arrays that files of before don't have."""

ARRAYS = tuple(item.name for item in fields(History) if item.name not in NO_ARRAYS)
