"""What a boundary costs a training loop of one's own, against one copy of the same vector.

not_due_us: where no exchange is due. due_copies: where one is, as a multiple of copying theta into memory that is there
already; touched_copies: where a peer's difference came in meanwhile, so that new params are made.

    python benchmarks/boundary.py --megabytes 100 --json
"""

import statistics
import time

import numpy as np
from command import show, vector_options

from agents import Peer


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parameters, repeats, as_json = vector_options(__doc__, repeats=50)
    line = "not due {not_due_us:.2f} us, due {due_copies:.2f} copies, with a difference {touched_copies:.2f}"
    show(measure(parameters, repeats), as_json, line)


def measure(parameters: int, repeats: int) -> dict[str, float]:
    """Medians."""
    params = {"w": np.random.default_rng(0).standard_normal(parameters, np.float32)}
    there = np.zeros_like(params["w"])
    copy_s, not_due_s, due_s, touched_s = [], [], [], []
    with Peer(params, task="boundary", every="10steps") as peer:
        for _ in range(repeats):
            copy_s.append(timed(lambda: np.copyto(there, params["w"])))
            not_due_s += [timed(lambda: peer.boundary(params)) for _ in range(9)]
            due_s.append(timed(lambda: peer.boundary(params)))
            for chunk in range(peer._replica.chunks):  # As if a peer's differences had come in.
                peer._replica.apply(chunk, there[: peer._replica.size(chunk)], 0.5)
            touched_s.append(timed(lambda: peer.take_in(params)))
    copy, not_due, due, touched = map(statistics.median, (copy_s, not_due_s, due_s, touched_s))
    return {
        "not_due_us": round(1e6 * not_due, 3),
        "copy_ms": round(1e3 * copy, 3),
        "due_copies": round(due / copy, 3),
        "touched_copies": round(touched / copy, 3),
        "model_mb": round(4e-6 * parameters, 3),
    }


def timed(call: object) -> float:
    """Seconds of one call."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
