"""Which runs make one line of a figure: runs of one setting that differ in their seeds alone, with a band over them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sim.curves import Curves, Floats, spread
from sim.plots.style import points
from topology.errors import GossamerError

Histories = Curves | Sequence[Curves] | Mapping[Any, Any]
"""A run, several, {label: run or several of one setting}, or what `sweep` returned."""

FIRST_NAMED = ("task", "topology", "agents", "alpha", "protocol", "partition", "local_steps", "codec", "clock", "delay")
"""Facts that name a run before others do."""

UNNAMED = ("seed", "seconds", "parameters", "names", "steps", "notes", "replay")
"""Facts that are no setting."""

SELF_EXPLANATORY = ("task", "topology", "protocol", "partition", "codec")
"""Facts whose value needs no name before it."""


class PlotError(GossamerError, ValueError):
    """Runs that can't be drawn together. One line: what was expected and what came."""

    code = "G606"


class Line(NamedTuple):
    """One line of a figure. runs: evaluated at the same rounds; several make a band."""

    label: str
    runs: tuple[Curves, ...]

    @property
    def first(self) -> Curves:
        """The run that stands for what all have in common."""
        return self.runs[0]

    def each(self, read: Any) -> Floats:
        """read(run) of every run, (E, runs)."""
        return np.stack([np.asarray(read(run), np.float64) for run in self.runs], axis=1)

    def draw(self, ax: Any, x: Floats, each: Floats, color: Any) -> None:
        """The mean of each (E, runs) over x (E,), and a band from the least to the most where there are several."""
        mean, low, high = spread(each)
        known = ~np.isnan(mean)
        if each.shape[1] > 1:
            ax.fill_between(x[known], low[known], high[known], color=color, alpha=0.18, linewidth=0)
        ax.plot(x[known], mean[known], color=color, label=self.label, **points(x[known]))


def lines_of(histories: Histories) -> list[Line]:
    """The lines of a figure, labeled as given or by the facts in which they differ. Raises PlotError."""
    if not isinstance(histories, Mapping):
        histories = _sequence(histories)
    if not histories:
        raise PlotError("a figure is drawn of at least one run: got none")
    if isinstance(histories, Mapping) and all(isinstance(key, str) for key in histories):
        return [Line(label, _runs(value)) for label, value in histories.items()]
    given = histories.items() if isinstance(histories, Mapping) else [((), run) for run in histories]
    groups: dict[Any, list[Curves]] = {}
    seen: dict[Any, int] = {}
    for key, run in given:
        setting = _without_seed(key, run), *_setting(run)
        seed = run.facts.get("seed")
        again = seen[setting, seed] = seen.get((setting, seed), -1) + 1  # The same run once more is no other seed.
        groups.setdefault((setting, again), []).append(run)
    labels = _labels([runs[0] for runs in groups.values()])
    return [Line(label, tuple(runs)) for label, runs in zip(labels, groups.values(), strict=True)]


def band_of(lines: Sequence[Line]) -> str:
    """What the bands of these lines show; "" where there are none."""
    counts = {len(line.runs) for line in lines} - {1}
    return f"{min(counts)} seeds, least to most" if len(counts) == 1 else "all seeds, least to most" if counts else ""


def _sequence(histories: Any) -> Sequence[Curves]:
    several = isinstance(histories, Iterable) and not hasattr(histories, "consensus_distance")
    for each in (found := list(histories) if several else [histories]):
        if not hasattr(each, "consensus_distance"):
            raise PlotError(f"a run is what `simulate` returns: got {type(each).__name__} {each!r:.40}")
    return found


def _runs(value: Any) -> tuple[Curves, ...]:
    runs = tuple(_sequence(value))
    if not runs:
        raise PlotError("a line is drawn of at least one run: got none")
    if any(not np.array_equal(run.rounds, runs[0].rounds) for run in runs):
        raise PlotError("runs of one line are evaluated at the same rounds: got different ones; draw a line for each")
    return runs


def _without_seed(key: Any, run: Curves) -> Any:
    """A key of `sweep` without its seed."""
    return repr(key[:-1] if isinstance(key, tuple) and key and key[-1] == run.facts.get("seed") else key)


def _setting(run: Curves) -> tuple[str, bytes]:
    facts = {key: value for key, value in sorted(run.facts.items()) if key not in UNNAMED}
    return repr(facts), np.asarray(run.rounds, np.float64).tobytes()


def _labels(runs: Sequence[Curves]) -> list[str]:
    """A label for each, by what differs; "run 0" and so on where that doesn't distinguish them."""
    keys = dict.fromkeys([*FIRST_NAMED, *(key for run in runs for key in run.facts), "seed"])
    differ = [key for key in keys if _differs(key, runs) and (key not in UNNAMED or key == "seed")]
    if any(key != "seed" for key in differ):
        differ.remove("seed") if "seed" in differ else None
    labels = [", ".join(_fact(key, run.facts.get(key)) for key in differ) for run in runs]
    if len(set(labels)) < len(runs):
        labels = [", ".join(filter(None, (label, f"run {i}"))) for i, label in enumerate(labels)]
    return labels


def _differs(key: str, runs: Iterable[Curves]) -> bool:
    return len({repr(run.facts.get(key)) for run in runs}) > 1


def _fact(key: str, value: Any) -> str:
    if key == "agents":
        return f"{value} agents"
    return str(value) if key in SELF_EXPLANATORY else f"{key.replace('_', ' ')} {value}"
