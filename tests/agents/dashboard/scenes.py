"""A made-up swarm as the dashboard sees it: agents that train on a ring, come together, and of whom some fail."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from agents.dashboard.story import Models, Scene
from agents.observe.expected import predicted_slope
from agents.observe.seen import AgentSeen, Alarm, LinkSeen, Snapshot

STEPS, EACH = 1200, 10
SETTINGS = {"task": "fashion-mnist", "topology": "ring", "alpha": 0.5, "seed": 0}
LAYERS = ["embedding/kernel", "hidden_0/bias", "hidden_0/kernel", "hidden_1/bias", "hidden_1/kernel", "output/kernel"]


def name_of(index: int, agents: int) -> str:
    """So that they are in order as text."""
    return f"agent-{index:0{len(str(agents - 1))}d}"


def scenes(agents: int, looks: int, dead: frozenset[int] = frozenset(), topology: str = "ring") -> Iterator[Scene]:
    """So many looks; the dead die at the last but some."""
    random = np.random.default_rng(0)
    models = random.normal(size=(agents, 24)) * 0.02
    names = [name_of(index, agents) for index in range(agents)]
    pace = random.uniform(0.95, 1.05, agents)
    for look in range(looks):
        step = (look + 1) * EACH
        for _ in range(agents):
            i = int(random.integers(agents))
            j = (i + 1) % agents
            models[i] = models[j] = (models[i] + models[j]) / 2
        models += random.normal(size=models.shape) * 0.9 * math.exp(-step / 350)
        gone = dead if look > looks * 0.8 else frozenset()
        yield scene(names, models, step, pace, gone, random, topology)


def scene(names, models, step, pace, gone, random, topology) -> Scene:
    """One look at these models, (agents, dimensions)."""
    agents, settings = len(names), {**SETTINGS, "topology": topology}
    centered = models - models.mean(axis=0)
    far = np.linalg.norm(centered, axis=1)
    distance = float(np.sqrt((far**2).mean()))
    places = np.linalg.svd(centered, full_matrices=False)
    points = places.U[:, :2] * places.S[:2]
    seen = []
    for index, name in enumerate(names):
        state = "dead" if index in gone else "stalled" if gone and index == 1 else "training"
        loss = 2.2 * math.exp(-step / 260) + 0.32 + 0.05 * float(random.normal())
        counts = {"started": step // 10, "answered": step // 10, "declined": step // 300, "failed": 0}
        exchanges, sent = step // 5, int(step * pace[index] * 41_000)
        seen.append(
            AgentSeen(
                name, index not in gone, state, int(step * pace[index]), STEPS, 96.0 * float(pace[index]),
                0.05 * float(random.random()), loss, float(far[index]), *map(float, points[index]),
                41.0 if index in gone else 0.3, exchanges, **counts, bytes_sent=sent, codec="lattice:4",
                shard=f"{index}/{agents}", address="",
            )
        )  # fmt: skip
    links = [
        LinkSeen((names[i], names[(i + 1) % agents]), 2.0, float(random.exponential(2.0)))
        for i in range(agents)
        if not {i, (i + 1) % agents} & gone
    ]
    alarms = [
        Alarm("dead", names[index], "silent for 41 s and gone: its process or its network has ended") for index in gone
    ]
    alarms += [Alarm("stalled", names[1], "no step for 12 s")] if gone else []
    snapshot = Snapshot("fashion-ring", 101_770, tuple(seen), distance, agents, -0.004, tuple(links), tuple(alarms))
    snapshot = replace(snapshot, predicted_slope=predicted_slope(settings, seen))
    return Scene(snapshot, settings, models=judged(names, far, step, random))


def judged(names, far, step, random) -> Models:
    """What the models themselves would show."""
    accuracy = 0.86 - 0.7 * math.exp(-step / 180)
    own = {name: {"accuracy": accuracy - 0.02 + 0.008 * float(random.normal())} for name in names}
    layers = {
        layer: [abs(float(value)) for value in far * (0.02 + 0.03 * place) * random.uniform(0.8, 1.2, len(far))]
        for place, layer in enumerate(LAYERS)
    }
    return Models(step, 4.0, tuple(names), layers, {"accuracy": accuracy, "loss": 0.4}, own)
