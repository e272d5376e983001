"""Errors of a task: its own class, and what a user's code raised as one line."""

from topology.errors import GossamerError


class TaskError(GossamerError, ValueError):
    """A task is not as it should be. One line: what was expected, what came, what to do."""


def one_line(error: BaseException) -> str:
    """An exception as one line."""
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
