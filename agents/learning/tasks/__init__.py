"""The built-in tasks by name. Each module offers `task`, a function of the data's path, just as a user's file does."""

from pathlib import Path

from agents.learning.errors import TaskError

BUILT_IN = {
    "digits": "agents.learning.tasks.digits",
    "fashion-mnist": "agents.learning.tasks.idx",
    "idx": "agents.learning.tasks.idx",
    "npz": "agents.learning.tasks.npz",
}


def task_file(task: str | Path) -> Path | None:
    """The path of a task file, or None for the name of a built-in task. Raises TaskError if it is neither."""
    if str(task) in BUILT_IN:
        return None
    path = Path(task).expanduser()
    if path.suffix != ".py":
        raise TaskError(f"no task is called {str(task)!r}: name one of {', '.join(BUILT_IN)}, or a .py file")
    if not path.is_file():
        raise TaskError(f"no task file at {path}: it would define `task`; the built-in tasks are {', '.join(BUILT_IN)}")
    return path
