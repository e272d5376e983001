"""How far agents' models are from their mean, parameter by parameter."""

from collections.abc import Mapping
from math import prod

import numpy as np

from agents.tensors import Parameters, Vector


def by_layer(
    models: Mapping[str, Vector], weights: Mapping[str, float], parameters: Parameters
) -> tuple[Vector, dict[str, list[float]]]:
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
