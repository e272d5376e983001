"""How far agents are apart, parameter by parameter: by their models, or by what their exchanges have found."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agents.mixing.bounds import MOST_CHARACTERS, MOST_NAMED
from transport.messages import Plain

if TYPE_CHECKING:
    from agents.tensors import Parameters, Vector

MOST_LAYERS = MOST_NAMED + 1
"""Of which distances are shown: those with a figure of their own, and the others together."""

LARGEST = 1e19
"""No model is that far from another: a larger figure isn't taken in."""


def by_layer(
    models: "Mapping[str, Vector]", weights: Mapping[str, float], parameters: "Parameters"
) -> "tuple[Vector, dict[str, list[float]]]":
    """The weighted mean of these models, (P,), and by parameter how far each is from it, as a share of its norm.

    models: by agent, (P,) each. weights: > 0, by agent. parameters: names and shapes, in the order of theta. What is 0
    in all models is 0 from its mean.
    """
    thetas = np.stack(list(models.values()))
    weighs = np.array([weights[agent] for agent in models])
    mean = np.asarray(weighs @ thetas / weighs.sum(), np.float32)
    found: dict[str, list[float]] = {}
    start = 0
    for name, shape in parameters:
        span = slice(start, start + prod(shape))
        norm = float(np.linalg.norm(mean[span]))
        far = np.linalg.norm(thetas[:, span] - mean[span], axis=1)
        found[name] = (far / norm if norm > 0 else np.where(far > 0, np.inf, 0.0)).tolist()
        start = span.stop
    return mean, found


def layers_of(sent: Mapping[str, Plain]) -> dict[str, float]:
    """How far an agent is from its neighbors in each parameter, as it publishes; what is no distance is left out."""
    return {
        name: float(far)
        for name, far in list(sent.items())[:MOST_LAYERS]
        if len(name) <= MOST_CHARACTERS and isinstance(far, int | float) and not isinstance(far, bool)
        if 0 <= far < LARGEST
    }


def layers_apart(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """By parameter, the root mean square of the agents' distances, those parameters that most agents name.

    each: as `layers_of` returns it, of one agent.
    """
    found = [layers for layers in each if layers]
    count = Counter(name for layers in found for name in layers)
    names = {name for name, _ in count.most_common(MOST_LAYERS)}
    return {
        name: math.sqrt(sum(layers.get(name, 0.0) ** 2 for layers in found) / count[name])
        for name in count
        if name in names
    }
