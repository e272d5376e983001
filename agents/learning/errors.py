"""Errors of a task: their class, and an exception of a user's code as one line with its place in that code."""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
import traceback
from pathlib import Path

from topology.errors import GossamerError

_OURS = [Path(__file__).parents[2] / package for package in ("agents", "sim", "topology", "transport")]
_LIBRARIES = (*(f"{folder}{os.sep}" for folder in (*_OURS, sysconfig.get_path("stdlib"))), "<frozen ")


class TaskError(GossamerError, ValueError):
    """A task is not as it should be. One line: what was expected, what came, what to do."""

    code = "G201"


def cause(error: BaseException, file: Path | None = None) -> str:
    """An exception as one line, after the file and line of the user's code where it was raised.

    That is the innermost place outside of installed packages, the standard library and Gossamer. Where there is none,
    after `file` alone.
    """
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    lines = str(error).strip().splitlines()
    kind, text = f"{type(error).__name__}: ", lines[0] if lines else ""
    if "Traceback (most recent call last):" in text:  # Of a host callback, as JAX hands it on.
        places += [(name, int(line)) for name, line in re.findall(r'File "(.+?)", line (\d+)', str(error))]
        kind, text = "", lines[-1]
    theirs = [(file, line) for file, line in places if _is_users(file)]
    place = f"{file}: " if file else ""
    if theirs:
        name, line = theirs[-1]
        text = text or linecache.getline(name, line or 0).strip()
        place = f"{name}, line {line}: "
    return place + (f"{kind}{text}" if text else type(error).__name__)


def _is_users(file: str) -> bool:
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(file) and not installed and not file.startswith(_LIBRARIES)
