"""Exceptions of a task's own functions as they are: with their file and line, without JAX's remarks on tracebacks."""

from collections.abc import Iterator
from contextlib import contextmanager

_REMARK = "JAX has removed its internal frames"


@contextmanager
def own_exceptions() -> Iterator[None]:
    """Let what is raised inside through, as the user's own code raised it."""
    try:
        yield
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if any(_REMARK in note for note in notes):
            error.__notes__ = [note for note in notes if _REMARK not in note]
        raise
