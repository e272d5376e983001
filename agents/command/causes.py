"""What an unexpected exception is due to, in one line: the user's own file and line, and the exception."""

import re
import sysconfig
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = [ROOT / name for name in ("agents", "sim", "topology", "transport")]
LIBRARIES = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]


def cause(error: BaseException) -> str:
    """File, line, type and message of an exception.

    The line is the innermost one that is neither ours nor a library's, so a user's own; or else the innermost of all.
    JAX raises the user's exceptions with a remark on its hidden frames after them, which isn't the cause, and what a
    host callback has raised as the text of a traceback within its own message.
    """
    text = str(error)
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    places += [(file, int(line)) for file, line in re.findall(r'File "(.+?)", line (\d+)', text)]
    theirs = [place for place in places if not _is_within(place[0], [*OURS, *LIBRARIES])]
    lines = text.strip().splitlines() or [""]
    embedded = any("Traceback (most recent call last)" in line for line in lines)
    what = lines[-1] if embedded else ": ".join(filter(None, (type(error).__name__, lines[0])))
    for file, line in reversed(theirs or places):
        return f"{file}, line {line}: {what}"
    return what


def _is_within(file: str, folders: list[Path]) -> bool:
    return file.startswith("<") or any(Path(file).resolve().is_relative_to(folder) for folder in folders)
