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

import jaxlib

QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)

CACHE, SECONDS, BYTES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)
PREFIX = "gossamer-compiled-"


def compile_quickly() -> None:
    """From here on; to be called before JAX looks for devices. Flags that are given, even empty ones, stand."""
    if "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = " ".join(flag for flag in QUICKLY.split() if _has(flag.strip("-").split("=")[0]))


def compile_once() -> None:
    """Share what is compiled until this run of tests is over; to be called before JAX compiles. A cache given stands."""
    if CACHE not in os.environ:  # It is in those of the workers, which the first process starts.
        made = tempfile.mkdtemp(prefix=PREFIX)
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        os.environ |= {CACHE: made, SECONDS: "0", BYTES: "-1"}


def as_users_do() -> dict[str, str]:
    """The environment of a process that compiles as one without these tests does."""
    quickly = os.environ.get("XLA_FLAGS", "").split() and set(os.environ["XLA_FLAGS"].split()) <= set(QUICKLY.split())
    shared = Path(os.environ.get(CACHE, "")).name.startswith(PREFIX)
    without = ["XLA_FLAGS"] * bool(quickly) + [CACHE, SECONDS, BYTES] * shared
    return {name: value for name, value in os.environ.items() if name not in without}


def _has(flag: str) -> bool:
    """Whether this JAX's library knows a flag of XLA: its name stands in there."""
    library = max(Path(jaxlib.__file__).parent.glob("*.so"), key=lambda path: path.stat().st_size)
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
        return found.find(flag.encode()) >= 0
