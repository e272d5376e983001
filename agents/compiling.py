"""Agents on one machine that share JAX's compilation cache take turns: each program is compiled once, then read.

Without a cache (JAX_COMPILATION_CACHE_DIR unset) this does nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: there each agent compiles for itself.
    fcntl = None  # type: ignore[assignment]


@contextmanager
def compiling(model: str) -> Iterator[None]:
    """Hold a lock on the compilation cache while this model is compiled for the first time; later ones need none."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not cache or fcntl is None:
        yield
        return
    Path(cache).mkdir(parents=True, exist_ok=True)
    done = Path(cache) / f"{model[:16]}.compiled"
    with open(Path(cache) / "turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if done.exists():
            fcntl.flock(turn, fcntl.LOCK_UN)
        yield
        done.touch()
