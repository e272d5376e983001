"""Task files as modules of this one, so that processes which a task starts find by name what it hands to them.

A process that is started anew (multiprocessing's "spawn" and "forkserver") imports the functions that it is given by
the name of their module. Here a file's name is that of its path, and whoever imports it loads the file. Such a process
runs the file only as far as it starts processes itself: what is handed on was defined before, and a file that makes its
pool at its top would make pools without end.
"""

import importlib.util
import multiprocessing.process
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

__path__: list[str] = []  # A package, for the import system: of modules that `Finder` finds.

FILES = f"{__name__}._"
"""How the name of each such module begins; the rest is its path, which differs between machines."""


def module_name(path: Path) -> str:
    """What the file at this path is called as a module; path: absolute."""
    return f"{FILES}{os.fsencode(path).hex()}"


class StartsProcesses(RuntimeError):
    """A task file starts processes while one that it has started loads it."""


class Finder(MetaPathFinder):
    """Finds task files by the names of their paths."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the import system asks for it."""
        home, _, name = fullname.rpartition(".")
        if home != __name__:
            return None
        file = os.fsdecode(bytes.fromhex(name[1:]))
        return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, file))


class Loader(SourceFileLoader):
    """Runs a task file in a process that a task has started."""

    def exec_module(self, module: ModuleType) -> None:
        """As far as it starts processes itself."""
        with _starting_none(), suppress(StartsProcesses):
            super().exec_module(module)


@contextmanager
def _starting_none() -> Iterator[None]:
    def refuse(self: object) -> None:
        raise StartsProcesses("a process that a task file has started loads it: it starts none itself meanwhile")

    base = multiprocessing.process.BaseProcess
    start = base.start
    base.start = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        base.start = start  # type: ignore[method-assign]


sys.meta_path.append(Finder())
