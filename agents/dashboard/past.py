"""Looks at the folder of a run for the dashboard: as it is, and all that its agents have written before."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from agents.dashboard.story import LINES, Models, Point, Scene, Story
from agents.observe.run_folder import Line, RunFolder

MOMENTS = 400
"""Of the past, so many steps at most."""

METRIC = "accuracy"


class Past:
    """A run's folder. Raises NoRunError."""

    def __init__(self, path: Path) -> None:
        self._folder = RunFolder(path)
        self.title, self.where = path.resolve().name, str(path)

    def look(self) -> Scene:
        """How the run is now."""
        seen = self._folder.look()
        ended = all(not agent.alive for agent in seen.agents)
        return Scene(seen, self._folder.settings, ended, models=self._models())

    def tell(self, story: Story) -> None:
        """The story so far."""
        agents = self._folder.agents
        story.begin(agents, points(agents))

    def close(self) -> None:
        """Nothing is held open."""

    def _models(self) -> Models:
        """Scores as agents wrote them."""
        last = {name: scores for name, lines in self._folder.agents.items() if (scores := last_scores(lines))}
        return Models(metrics_of=last)


def last_scores(lines: list[Line]) -> dict[str, float]:
    """What the last evaluation showed; {} where there was none."""
    return next(
        ({named(name): value for name, value in line.metrics.items()} for line in reversed(lines) if line.metrics), {}
    )


def named(metric: str) -> str:
    """A metric without the data on which it was measured."""
    return metric.removeprefix("test_").removeprefix("validation_")


def points(agents: dict[str, list[Line]]) -> Iterator[Point]:
    """The course of a run in at most MOMENTS steps: at each, the last line of each agent up to it."""
    shown = list(agents.values())[:LINES]
    steps = sorted({line.step for lines in agents.values() for line in lines})
    for moment in steps[:: max(1, len(steps) // MOMENTS)]:
        found = [_at(lines, moment) for lines in shown]
        losses = [math.nan if line is None or line.loss is None else line.loss for line in found]
        scores = [_score(lines, moment) for lines in shown]
        distances = sorted(line.distance for line in found if line is not None and line.distance is not None)
        apart = distances[len(distances) // 2] if distances else None
        yield Point(moment, apart, losses, scores)


def _at(lines: list[Line], step: int) -> Line | None:
    """The last line up to this step, unless it is that of an agent which had ended before."""
    place = bisect_right(lines, step, key=lambda line: line.step)
    return lines[place - 1] if place and (place < len(lines) or lines[-1].step == step) else None


def _score(lines: list[Line], step: int) -> float:
    line = _at(lines, step)
    values = {named(name): value for name, value in line.metrics.items()} if line is not None else {}
    return values.get(METRIC, math.nan)
