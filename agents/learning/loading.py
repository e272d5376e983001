"""Find a task: by the name of a built-in one, in a user's Python file, or as it is."""

import importlib
import importlib.util
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from agents.learning.data import DataError
from agents.learning.errors import TaskError, cause
from agents.learning.rules import UnknownRule
from agents.learning.task import Task
from agents.learning.task_files import module_name
from agents.learning.tasks import BUILT_IN, task_file


def load_task(task: str | Path | Task, data: str | Path | None = None) -> Task:
    """A task from a built-in name, the path of a .py file that defines `task`, or a Task.

    In a file `task` is a Task, or a function `task()` or `task(data)` that returns one; `partition` and `rule`, where
    the file defines them, are the task's own.
    data: the path of the data, for tasks that take one. Raises TaskError.
    """
    if isinstance(task, Task):
        if data is not None:
            raise TaskError(f"a Task carries its own data: got data {str(data)!r} as well; leave it out")
        return task
    if not isinstance(task, str | Path):
        raise TaskError(f"a task is a name, one of {', '.join(BUILT_IN)}, a .py file or a Task: got {task!r:.60}")
    path = task_file(task)
    if path is None:
        return _made(importlib.import_module(BUILT_IN[str(task)]).task, str(task), data)
    try:
        module = _imported(path.resolve())
        if not hasattr(module, "task"):
            raise TaskError(f"{path} must define `task`, a Task or a function that returns one: it has no such name")
        return _with_its_own(_made(module.task, str(path), data), module)
    except (TaskError, DataError, UnknownRule):
        raise
    except (Exception, SystemExit) as error:
        raise TaskError(cause(error, path)) from error


def _imported(path: Path) -> ModuleType:
    """The module at a path; its imports, also those in functions, find the files beside it."""
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _with_its_own(task: Task, module: ModuleType) -> Task:
    """The task with the partition and the rule that its file defines beside it, where it has none itself."""
    beside = {name: getattr(module, name, None) for name in ("partition", "rule") if getattr(task, name) is None}
    own = {name: value for name, value in beside.items() if value is not None}
    return replace(task, **own) if own else task


def _made(task: object, source: str, data: str | Path | None) -> Task:
    """The Task that `task` is or makes."""
    if callable(task) and not isinstance(task, Task):
        takes = list(inspect.signature(task).parameters.values())
        if data is not None and not takes:
            raise TaskError(f"{source} brings its own data: got data {str(data)!r} as well; leave it out")
        if data is None and takes and takes[0].default is inspect.Parameter.empty:
            raise TaskError(f"{source} needs to know where its data is: got none; pass --data PATH")
        task = task(Path(data).expanduser()) if data is not None else task()
    elif data is not None:
        raise TaskError(f"{source} brings its own data: got data {str(data)!r} as well; define `task(data)` to take it")
    if not isinstance(task, Task):
        raise TaskError(f"`task` in {source} must be a Task or a function that returns one: got {type(task).__name__}")
    return task
