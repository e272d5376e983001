"""Standard output of a command with --json: one JSON object, and nothing else."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from agents.jsonable import jsonable


@contextlib.contextmanager
def reserved(wanted: bool = True) -> Iterator[None]:
    """What is written to stdout inside, by a task file or a C library say, goes to stderr. wanted: with --json."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_json(value: Any) -> None:
    """One JSON object on stdout; numbers that JSON hasn't (NaN, infinities) become null."""
    print(json.dumps(jsonable(value), allow_nan=False), flush=True)
