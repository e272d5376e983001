"""How programs are compiled in tests: quickly, and once. They run for milliseconds, and there are thousands of them.

With these flags XLA takes a fifth of its time for a small program. What is equal bit for bit stays so: whatever is
compared is compiled alike. XLA ends a process that gives it a flag it doesn't know, so those that another version has
no more are left out. What one worker has compiled, others and later tests read: half of the programs are the same.
Both are for the processes that tests start, too, but those of `as_users_do`.
"""

import atexit
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import jax
import jaxlib

QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)

CACHE, SECONDS, BYTES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)
ALL = "GOSSAMER_TESTS_COMPILED"
"""The variable that holds the folder of this run of tests."""


def compile_quickly() -> None:
    """From here on; to be called before JAX looks for devices. Flags that are given, even empty ones, stand."""
    if "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = " ".join(flag for flag in QUICKLY.split() if _has(flag.strip("-").split("=")[0]))


def compile_once() -> None:
    """Share what is compiled until this run of tests is over; to be called before JAX compiles. A cache given stands.

    All workers share one cache; the processes of each worker's tests have another, as agents take turns to compile.
    """
    if ALL not in os.environ:  # It is in the environment of the workers, which the first process starts.
        if CACHE in os.environ:
            return
        os.environ[ALL] = tempfile.mkdtemp(prefix="gossamer-compiled-")
        atexit.register(shutil.rmtree, os.environ[ALL], ignore_errors=True)
    own = Path(os.environ[ALL]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ |= {CACHE: str(own), SECONDS: "0", BYTES: "-1"}
    jax.config.update("jax_compilation_cache_dir", os.environ[ALL])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def as_users_do() -> dict[str, str]:
    """The environment of a process that compiles as one without these tests does."""
    quickly = os.environ.get("XLA_FLAGS", "").split() and set(os.environ["XLA_FLAGS"].split()) <= set(QUICKLY.split())
    without = ["XLA_FLAGS"] * bool(quickly) + [CACHE, SECONDS, BYTES] * (ALL in os.environ)
    return {name: value for name, value in os.environ.items() if name not in without}


def _has(flag: str) -> bool:
    """Whether this JAX's library knows a flag of XLA: its name stands in there."""
    library = max(Path(jaxlib.__file__).parent.glob("*.so"), key=lambda path: path.stat().st_size)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
        return found.find(flag.encode()) >= 0
