"""Agents on one machine that share JAX's compilation cache take turns: each program is compiled once, then read.

Without a cache (JAX_COMPILATION_CACHE_DIR unset) they don't. What few bits need is loaded once for all of a launch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.mixing.codec_names import is_compiled

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


def compiled_for(codec: str) -> list[str]:
    """The modules that agents of this setting load, with a compiler and 100 MB: worth loading once before they fork."""
    return ["agents.mixing.codecs.kernels"] if is_compiled(codec) else []
