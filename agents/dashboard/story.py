"""What the page shows, as JSON: the swarm as it is now, and how distance, losses and scores came to be so.

The history is bounded: of a long run the whole course is kept in fewer points.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agents.observe.expected import expected
from agents.observe.layers import layers_apart
from agents.observe.seen import AgentSeen, Snapshot
from agents.observe.texts import visible
from agents.observe.thinned import Thinned

POINTS = 720
"""Of the history, at most."""

LINES = 128
"""Agents with a line of their own in the history: in a larger swarm the first by name stand for the others."""

WHOLE_GRAPH = 4096
"""Edges that are shown, at most."""

MAX_BYTES = 1 << 28
"""Of all models together, to show their layers: of more nothing is read or pulled."""

TEXT = 200
"""Letters of a name or an alarm: a peer may choose them."""


Judged = Mapping[str, Mapping[str, float]]
"""The metrics of each agent's model, by agent and name."""


@dataclass(frozen=True)
class Models:
    """What the agents' models themselves show, pulled now and then. step: of the merged one; age_s: since then.

    metrics: of the merged model, metrics_of: of each agent's, on the task's test data. layers: by name of a parameter,
    how far each of `agents` is from the mean in it, as a share of the mean's norm.
    """

    step: int = 0
    age_s: float = 0.0
    agents: tuple[str, ...] = ()
    layers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_of: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """One look. settings: that all agents of the run share. ended: nobody trains or answers any more, or ever will.

    lost: nobody answered this time.
    """

    snapshot: Snapshot
    settings: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = False
    lost: bool = False
    models: Models | None = None


@dataclass(frozen=True)
class Point:
    """One moment. step: of who is furthest; losses, scores: by agent's number, NaN where unknown.

    loss, score: the mean of all agents; that of these where it isn't given.
    """

    step: float
    distance: float | None = None
    losses: Sequence[float] = ()
    scores: Sequence[float] = ()
    merged: float | None = None
    loss: float | None = None
    score: float | None = None

    def plain(self) -> list[Any]:
        """As the page takes it: step, distance, mean loss, losses, mean score, scores, merged."""
        losses, scores = list(map(short, self.losses)), list(map(short, self.scores))
        mean = short(_mean(losses) if self.loss is None else self.loss)
        judged = short(_mean(scores) if self.score is None else self.score)
        return [short(self.step), short(self.distance), mean, losses, judged, scores, short(self.merged)]


class Story:
    """Follows the looks at one swarm. title: what is shown, where: the addresses or the folder."""

    def __init__(self, title: str, where: str) -> None:
        self._title, self.where = title, where
        self._numbers: dict[str, int] = {}
        self._points: Thinned[bytes] = Thinned(POINTS)
        self._now, self._step = b"null", 0.0
        self._before: tuple[float, int, int] | None = None
        self._rates: tuple[float, float] = (0.0, 0.0)

    def begin(self, names: Iterable[str], points: Iterable[Point]) -> None:
        """The past, where it is known. names: of the agents whose numbers the points go by."""
        for name in names:
            self._number(name)
        for point in points:
            self._add(point)

    def add(self, scene: Scene, now_s: float) -> None:
        """Another look, at this time of a clock."""
        snapshot = scene.snapshot
        for agent in snapshot.agents:
            self._number(agent.agent)
        self._add(self._point(scene))
        self._measure_rates(snapshot, now_s)
        self._now = _json(self._plain(scene))

    def event(self, after: int) -> tuple[bytes, int]:
        """What a page lacks that has seen `after` points: a server-sent event, and how many it has seen then."""
        body = b'{"points":[' + b",".join(self._points.since(after)) + b'],"now":' + self._now + b"}"
        return b"data: " + body + b"\n\n", self._points.count

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _add(self, point: Point) -> None:
        self._step = point.step
        text = _json(point.plain())
        if text != self._points.last:
            self._points.add(text)

    def _point(self, scene: Scene) -> Point:
        snapshot, models = scene.snapshot, scene.models
        losses, scores = ([math.nan] * min(LINES, len(self._numbers)) for _ in range(2))
        judged = scored(scene)
        metric = metric_of(models, judged)
        for agent in snapshot.agents:
            number = self._numbers[agent.agent]
            if number < LINES and agent.alive:
                losses[number] = math.nan if agent.loss is None else agent.loss
        for name, metrics in judged.items():
            number = self._numbers.get(name, LINES)
            if number < LINES:
                scores[number] = metrics.get(metric, math.nan)
        merged = models.metrics.get(metric) if models else None
        loss = _mean([agent.loss for agent in snapshot.agents if agent.alive])
        score = _mean([each.get(metric) for each in judged.values()])
        self._step = max(self._step, furthest_step(snapshot))
        return Point(self._step, snapshot.consensus_distance, losses, scores, merged, loss, score)

    def _measure_rates(self, snapshot: Snapshot, now_s: float) -> None:
        """Exchanges and bytes a second, smoothed over some seconds; an agent that starts again begins from 0."""
        exchanges = sum(agent.exchanges for agent in snapshot.agents) // 2
        sent = sum(agent.bytes_sent for agent in snapshot.agents)
        if self._before is not None and now_s > self._before[0]:
            passed_s = now_s - self._before[0]
            share = 1 - math.exp(-passed_s / 2.0)
            now = max(0, exchanges - self._before[1]) / passed_s, max(0, sent - self._before[2]) / passed_s
            old = self._rates
            self._rates = old[0] + share * (now[0] - old[0]), old[1] + share * (now[1] - old[1])
        self._before = now_s, exchanges, sent

    def _plain(self, scene: Scene) -> dict[str, Any]:
        snapshot, models = scene.snapshot, scene.models
        agents = sorted(snapshot.agents, key=lambda agent: agent.agent)
        living = [agent for agent in agents if (agent.alive or scene.ended) and agent.state != "joining"]
        known = expected(scene.settings, len(living))
        place = {agent.agent: index for index, agent in enumerate(agents)}
        edges = [[place[living[i].agent], place[living[j].agent]] for i, j in known.edges[:WHOLE_GRAPH]]
        links = [
            [place[first], place[second], short(link.age_s), short(link.rate)]
            for link in snapshot.links
            for first, second in [link.agents]
            if first in place and second in place
        ]
        judged = scored(scene)
        steps, metric = mean_step(snapshot), metric_of(models, judged)
        return {
            "title": visible(self._title, TEXT),
            "where": self.where,
            "run": visible(snapshot.run, TEXT),
            "task": visible(str(scene.settings.get("task", "")), TEXT),
            "topology": visible(str(scene.settings.get("topology", "")), TEXT),
            "parameters": snapshot.parameters,
            "ended": scene.ended,
            "lost": scene.lost,
            "step": short(steps),
            "distance": short(snapshot.consensus_distance),
            "slope": short(snapshot.slope),
            "predicted": short(snapshot.predicted_slope),
            "exchanges_s": short(self._rates[0]),
            "bytes_s": short(self._rates[1]),
            "agents": [self._agent(asdict(agent), judged, metric) for agent in agents],
            "edges": edges or [link[:2] for link in links],
            "links": links,
            "alarms": [
                [each.kind, visible(each.agent, TEXT), visible(each.text, TEXT)] for each in snapshot.alarms[:64]
            ],
            "metric": visible(metric, TEXT),
            "merged": {name: short(value) for name, value in models.metrics.items()} if models else {},
            "models": self._layers(models, agents),
        }

    def _agent(self, agent: dict[str, Any], judged: Judged, metric: str) -> dict[str, Any]:
        name, _ = agent.pop("agent"), agent.pop("layers")
        found = {key: self._value(value) for key, value in agent.items()}
        score = short(judged.get(name, {}).get(metric))
        return {**found, "name": visible(name, TEXT), "number": self._numbers[name], "score": score}

    def _value(self, value: Any) -> Any:
        """What is published of an agent, fit for the page."""
        match value:
            case float():
                return short(value)
            case str():
                return visible(value, TEXT)
            case dict():
                return {visible(name, TEXT): self._value(each) for name, each in value.items()}
        return value

    def _layers(self, models: Models | None, agents: Sequence[AgentSeen]) -> dict[str, Any] | None:
        """Of the models where they were pulled, else as the agents' exchanges find."""
        found = None if models and models.layers else between_neighbors(agents)
        return found or (self._models(models) if models else None)

    def _models(self, models: Models) -> dict[str, Any]:
        layers = [[visible(name, TEXT), list(map(short, far))] for name, far in models.layers.items()]
        agents = [visible(name, TEXT) for name in models.agents]
        return {"step": models.step, "age_s": short(models.age_s), "agents": agents, "layers": layers}


def between_neighbors(agents: Sequence[AgentSeen]) -> dict[str, Any] | None:
    """How far each agent is from its neighbors, by parameter, as the page takes layers; None where nothing is known.

    Their step is None: they are of no one moment.
    """
    known = [agent for agent in agents if agent.layers]
    names = layers_apart(agent.layers for agent in known)
    layers = [[visible(name, TEXT), [short(agent.layers.get(name)) for agent in known]] for name in names]
    shown = [visible(agent.agent, TEXT) for agent in known]
    return {"step": None, "age_s": None, "agents": shown, "layers": layers} if layers else None


def scored(scene: Scene) -> Judged:
    """How good each agent's model is: as the models that were pulled show, else as agents publish it themselves."""
    if scene.models is not None:
        return scene.models.metrics_of
    known = [agent for agent in scene.snapshot.agents if agent.metric and agent.score is not None]
    return {agent.agent: {agent.metric: agent.score or 0.0} for agent in known}


def metric_of(models: Models | None, judged: Judged) -> str:
    """By which models are judged: accuracy where there is one, else the first that isn't the loss; "" for none."""
    names = sorted((models.metrics if models else {}) or {name for each in judged.values() for name in each})
    return min(names, key=lambda name: (name != "accuracy", name == "loss"), default="")


def mean_step(snapshot: Snapshot) -> float:
    """Local steps of those that are alive, of all where none is."""
    steps = [agent.step for agent in snapshot.agents if agent.alive] or [agent.step for agent in snapshot.agents]
    return sum(steps) / len(steps) if steps else 0.0


def furthest_step(snapshot: Snapshot) -> float:
    """Local steps of who is furthest: the mean goes back where one joins later, or who is ahead has gone."""
    return max((float(agent.step) for agent in snapshot.agents if agent.alive), default=mean_step(snapshot))


def short(value: float | None) -> float | None:
    """A number to five digits, as none of them is seen; None for what is none."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _json(value: Any) -> bytes:
    """On one line, as an event must be; NaN can't come out of it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
