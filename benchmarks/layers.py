"""What an agent pays to know how far it is from its neighbors in each parameter, as a share of its exchanges.

Two peers of one process exchange over loopback as fast as they can. Looking at the differences is timed in the network
threads; what the clock itself takes, read twice for each chunk, counts as looking.

    python benchmarks/layers.py --parameters 10000000 --repeats 40
"""

import time
from typing import Any

import numpy as np
from command import parser_of, show

from agents import Peer
from agents.mixing.disagreement import Disagreement

LAYERS, COLUMNS = 8, 512
"""Matrices of the model, each with a bias, and the columns of each."""


class Timed:
    """`Disagreement.found`, with the processor time that it takes in all."""

    def __init__(self) -> None:
        self.found, self.spent_s = Disagreement.found, 0.0

    def __get__(self, of: Disagreement, kind: type) -> Any:
        def found(*given: Any) -> None:
            began_s = time.thread_time()
            self.found(of, *given)
            self.spent_s += time.thread_time() - began_s

        return found


def main() -> None:
    """Measure, and print a line or one JSON object."""
    parser = parser_of(__doc__, repeats=40)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    options = parser.parse_args()
    rows = options.parameters // (LAYERS * COLUMNS)
    of_layer = {"w": (rows, COLUMNS), "b": (COLUMNS,)}
    shapes = {f"{layer}/{name}": shape for layer in range(LAYERS) for name, shape in of_layer.items()}
    random = np.random.default_rng(0)
    start = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    timed = Disagreement.found = Timed()  # type: ignore[method-assign,assignment]
    alike: dict[str, Any] = {"task": "layers", "every": "1steps", "overlap": False, "keep_pace": False}
    with Peer(start, **alike) as one, Peer(start, join=one.address, **alike) as other:
        other.meet(start)
        one.meet(start)
        params = {name: leaf + random.standard_normal(leaf.shape).astype(np.float32) for name, leaf in start.items()}
        one.boundary(params)
        timed.spent_s, begun, began_s = 0.0, exchanges(one), time.monotonic()
        while exchanges(one) < begun + options.repeats:
            params = one.boundary(params)
        took_s, done = time.monotonic() - began_s, exchanges(one) - begun
        spent_s = timed.spent_s
    result = {
        "parameters": options.parameters,
        "exchange_ms": 1e3 * took_s / done,
        "looking_ms": 1e3 * spent_s / done,
        "ratio": spent_s / took_s,
    }
    show(
        result,
        options.json,
        "an exchange of {parameters} parameters takes {exchange_ms:.1f} ms, looking at its layers on both sides "
        "{looking_ms:.2f} ms: {ratio:.4f} of it",
    )


def exchanges(peer: Peer) -> int:
    """Completed so far."""
    return peer.view().me.report.exchanges


if __name__ == "__main__":
    main()
