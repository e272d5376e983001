"""How programs are compiled in tests: quickly. They run for milliseconds, and there are thousands of them.

With these flags XLA takes a fifth of its time for a small program. What is equal bit for bit stays so: whatever is
compared is compiled alike. The flags are for the processes that tests start, too, but those of `as_users_do`.
"""

import os

QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)


def compile_quickly() -> None:
    """From here on; to be called before JAX looks for devices. Flags that are given, even empty ones, stand."""
    os.environ.setdefault("XLA_FLAGS", QUICKLY)


def as_users_do() -> dict[str, str]:
    """The environment of a process that compiles as one without these tests does."""
    return {name: value for name, value in os.environ.items() if (name, value) != ("XLA_FLAGS", QUICKLY)}
