"""Files that are written whole or not at all, that survive a power cut once written, and of which older ones are kept.

A file is written into a folder beside it, flushed to the disk, and moved to its place, so a crash leaves the old one
or the new one, never half. What a killed process left in that folder goes with the next write, or with `clean`.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEAST = 4096
"""Bytes, below which a disk counts as full: a block of most file systems."""


@contextmanager
def replacing(path: Path, keep: int | None = None) -> Iterator[Path]:
    """Where to write what takes the place of `path` at the end, with the permissions that any new file gets.

    keep: how many are kept, the new one counted; see `generations`. None: this file has none, and whatever has a name
    like theirs, such as model.1.safetensors beside it, is somebody else's. Raises OSError; the file is as it was then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clean(path)
    folder = _beside(path)
    folder.mkdir()
    try:
        fresh = folder / path.name
        yield fresh
        fresh.chmod(folder.stat().st_mode & 0o666)  # A library may let nobody else read, whatever the umask says.
        _flush(fresh, os.O_RDWR)
        if keep is not None:
            _move_back(path, keep, folder / "older")
        fresh.replace(path)
        if keep is not None:
            _forget(path, keep)
        if os.name != "nt":  # Where a folder can't be opened, its entries are flushed with the file.
            _flush(path.parent, os.O_RDONLY)
    finally:
        clean(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8. Raises OSError."""
    with replacing(path) as fresh:
        fresh.write_text(text, "utf-8")


def hindrance(folder: Path) -> str:
    """Why no file can be written in this folder, which may have yet to be made; "" where one can."""
    there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"nothing can be written in {there}"


def is_full(folder: Path) -> bool:
    """Whether nothing more fits on the disk of a folder."""
    try:
        return shutil.disk_usage(folder).free < LEAST
    except OSError:
        return False


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one at this path still: not if it was removed, moved or replaced. Raises OSError."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def copy_whole(source: Path, path: Path) -> None:
    """Give a file that is never written to, only replaced, a second name, or copy it. Raises OSError."""
    with replacing(path) as fresh:
        try:
            os.link(source, fresh)
        except OSError:  # A disk without links.
            shutil.copyfile(source, fresh)


def generations(path: Path) -> list[Path]:
    """The file and the older ones that were kept, the newest first: model.safetensors, model.1.safetensors, ..."""
    return [each for each in (path, *(_aged(path, age) for age in _ages(path))) if each.exists()]


def clean(path: Path) -> None:
    """Remove what is left of a write of this file that never came to its end."""
    shutil.rmtree(_beside(path), ignore_errors=True)


def clean_all(folder: Path) -> None:
    """Remove what is left in a folder of any such write."""
    for left in folder.glob(".*.new"):
        shutil.rmtree(left, ignore_errors=True)


def _move_back(path: Path, keep: int, spare: Path) -> None:
    """Move each generation one place back, over the oldest; `path` stays, under both names.

    Killed at any line of this, all others are still there, and the next time goes on where this ended. spare: a free
    name on the same disk.
    """
    if keep == 1 or not path.exists() or (_aged(path, 1).exists() and _aged(path, 1).samefile(path)):
        return
    for age in reversed(_ages(path)):
        if age + 1 < keep:
            _aged(path, age).replace(_aged(path, age + 1))
    try:
        os.link(path, spare)
    except OSError:  # A disk without links: for a moment only the older name is there.
        path.replace(_aged(path, 1))
    else:
        spare.replace(_aged(path, 1))


def _forget(path: Path, keep: int) -> None:
    for age in _ages(path):
        if age >= keep:
            _aged(path, age).unlink(missing_ok=True)


def _ages(path: Path) -> list[int]:
    """Of the older files that were kept, in order."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.([1-9]\d*){re.escape(path.suffix)}")
    matches = (pattern.fullmatch(each.name) for each in path.parent.glob(f"{path.stem}.*{path.suffix}"))
    return sorted(int(match[1]) for match in matches if match)


def _aged(path: Path, age: int) -> Path:
    return path.with_name(f"{path.stem}.{age}{path.suffix}")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _flush(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        with suppress(OSError):
            os.close(descriptor)
