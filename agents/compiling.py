"""Agents on one machine that share JAX's compilation cache take turns: each program is compiled once, then read.

Without a cache (JAX_COMPILATION_CACHE_DIR unset) they don't. What few bits need is loaded once for all of a launch.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from agents.mixing.codec_names import is_compiled

try:
    import fcntl
except ImportError:  # Windows has no such locks: there each agent compiles for itself.
    fcntl = None  # type: ignore[assignment]


@contextmanager
def compiling(model: str) -> Iterator[None]:
    """Hold a lock on the compilation cache while this model is compiled for the first time; later ones need none."""
    cache, shared = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", "")), False
    done = cache / f"{model[:16]}.compiled"
    with ExitStack() as held:
        if cache.name and fcntl is not None:
            with suppress(OSError):  # Where the cache takes nothing, each compiles for itself, as JAX does then.
                cache.mkdir(parents=True, exist_ok=True)
                turn = held.enter_context(open(cache / "turn", "w"))
                fcntl.flock(turn, fcntl.LOCK_EX)
                if done.exists():
                    fcntl.flock(turn, fcntl.LOCK_UN)
                shared = True
        yield
        if shared:
            with suppress(OSError):
                done.touch()


def compiled_for(codec: str) -> list[str]:
    """The modules that agents of this setting load, with a compiler and 100 MB: worth loading once before they fork."""
    return ["agents.mixing.codecs.kernels"] if is_compiled(codec) else []
