"""Looks at the folder of a run for the dashboard: as it is, and all that its agents have written before."""

import json
import logging
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agents.checkpoint import FILE as CHECKPOINT
from agents.checkpoint import CheckpointError, load_header, load_theta
from agents.dashboard.story import LINES, MAX_BYTES, Models, Point, Scene, Story, metric_of
from agents.observe.layers import by_layer
from agents.observe.metrics_lines import Line
from agents.observe.run_folder import RunFolder
from agents.submodel import WHOLE, subnetwork_count
from topology.errors import GossamerError

MOMENTS = 400
"""Of the past, so many steps at most."""

log = logging.getLogger("gossamer")


class Past:
    """A run's folder. Raises NoRunError."""

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, RunFolder(path)
        self.title, self.where = path.resolve().name, str(path)
        self._saved: dict[Path, int] = {}
        self._layers = Models()
        self._apart = _subnetworks(self._folder.settings.get("submodel", WHOLE)) > 1

    def look(self) -> Scene:
        """How the run is now."""
        seen = self._folder.look()
        ended = all(not agent.alive for agent in seen.agents)
        return Scene(seen, self._folder.settings, ended, models=self._models())

    def begin(self, story: Story) -> None:
        """The story so far."""
        agents = self._folder.agents
        story.begin(agents, points(agents, self._folder.judged))

    def close(self) -> None:
        """Nothing is held open."""

    def _models(self) -> Models:
        """Layers by the checkpoints, scores as agents wrote them, and those of the consensus model if there is one."""
        written = {name: scores for name, lines in self._folder.judged.items() if (scores := last_scores(lines))}
        metrics, metrics_of = card_of(self._path)
        return replace(self._saved_layers(), metrics=metrics, metrics_of=metrics_of or written)

    def _saved_layers(self) -> Models:
        """Of the agents' last checkpoints, which are read again when there are newer ones.

        Nothing of subnetworks, which have no common mean.
        """
        if self._apart:
            return self._layers
        files = sorted(self._path.glob(f"agents/*/{CHECKPOINT}"))
        try:
            saved = {file: file.stat().st_mtime_ns for file in files}
            if saved != self._saved:
                self._saved = saved
                self._layers = layers_in(files)
        except (CheckpointError, OSError, ValueError, TypeError) as error:  # Facts may be of another version.
            log.info("the layers of these checkpoints aren't shown: %s", error)
        return self._layers


def layers_in(files: list[Path]) -> Models:
    """How far the models in these checkpoints are apart; nothing of fewer than two, or of large or different ones."""
    headers = {
        str(header.facts.get("agent", file.parent.name)): (file, header)
        for file in files
        for header in [load_header(file)]
    }
    shapes = {tuple((name, tuple(shape)) for name, shape in header.parameters) for _, header in headers.values()}
    if len(headers) < 2 or len(shapes) > 1 or 4 * sum(header.size for _, header in headers.values()) > MAX_BYTES:
        return Models()
    models = {agent: load_theta(file) for agent, (file, _) in headers.items()}
    weights = {agent: float(header.facts.get("weight", 1)) for agent, (_, header) in headers.items()}
    steps = [int(header.facts.get("step", 0)) for _, header in headers.values()]
    (parameters,) = shapes
    return Models(round(sum(steps) / len(steps)), 0.0, tuple(models), by_layer(models, weights, parameters)[1])


def card_of(path: Path) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What the card of the run's consensus model says of it and of each agent; ({}, {}) where there is none."""
    try:
        card = json.loads((path / "consensus.json").read_text())
        return numbers(card["metrics"]), {str(agent): numbers(each) for agent, each in card["metrics_of"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return {}, {}


def numbers(metrics: dict[str, object]) -> dict[str, float]:
    """Those that are finite."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def last_scores(judged: Sequence[Line]) -> dict[str, float]:
    """What the last of these evaluations showed; {} where there was none."""
    return {named(name): value for name, value in judged[-1].metrics.items()} if judged else {}


def named(metric: str) -> str:
    """A metric without the data on which it was measured."""
    return metric.removeprefix("test_").removeprefix("validation_")


def points(agents: Mapping[str, list[Line]], judged: Mapping[str, list[Line]]) -> Iterator[Point]:
    """The course of a run in at most MOMENTS steps: at each, the last line of each agent up to it, and its last score.

    judged: those of the lines that come of evaluations.
    """
    shown = list(agents.items())[:LINES]
    metric = metric_of(None, {name: last_scores(lines) for name, lines in judged.items()})
    steps = sorted({line.step for lines in agents.values() for line in lines})
    for moment in steps[:: max(1, len(steps) // MOMENTS)]:
        found = [_at(lines, moment) for _, lines in shown]
        losses = [math.nan if line is None or line.loss is None else line.loss for line in found]
        last = [
            judged.get(name, [])[: bisect_right(judged.get(name, []), moment, key=_step)][-1:] if line else []
            for (name, _), line in zip(shown, found, strict=True)
        ]
        scores = [last_scores(each).get(metric, math.nan) for each in last]
        distances = sorted(line.distance for line in found if line is not None and line.distance is not None)
        yield Point(moment, distances[len(distances) // 2] if distances else None, losses, scores)


def _at(lines: Sequence[Line], step: int) -> Line | None:
    """The last line up to this step, unless it is that of an agent which had ended before."""
    place = bisect_right(lines, step, key=_step)
    return lines[place - 1] if place and (place < len(lines) or lines[-1].step == step) else None


def _step(line: Line) -> int:
    return line.step


def _subnetworks(submodel: object) -> int:
    """How many there are; 1 of what another version has written."""
    try:
        return subnetwork_count(str(submodel))
    except GossamerError:
        return 1
