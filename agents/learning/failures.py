"""What went wrong in a user's code, in one line: the exception itself, with the file and line it came from."""

import sysconfig
import traceback
from pathlib import Path

from agents.learning.task import one_line

_OURS = Path(__file__).parents[2]
_OTHERS = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}


def described_failure(error: BaseException) -> str:
    """The exception, and the last line of code on its way that belongs neither to us nor to a library."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not _is_ours(path) and not _OTHERS.intersection(path.parents):
            return f"{path}, line {frame.lineno}: {one_line(error)}"
    return one_line(error)


def _is_ours(path: Path) -> bool:
    return any((_OURS / package) in path.parents for package in ("agents", "sim", "topology", "transport"))
