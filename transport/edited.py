"""A text file that several processes edit: one after the other, and each edit is written whole or not at all."""

import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("gossamer")

LOCK_S, LOOK_S = 2.0, 0.02
"""How long to wait for others who edit the file, and between two looks whether they still do."""


@contextmanager
def edited(path: Path) -> Iterator[list[str]]:
    """The lines of a file, to be changed in place; none where there is no file. A link is followed, and stays.

    Others wait meanwhile, in all processes; a file beside it, which stays, is the lock. What was changed is on the disk
    at the end, with the permissions that the file had; if an error is raised, nothing is. Raises OSError,
    UnicodeDecodeError.
    """
    path = path.resolve()
    with _locked(path.with_name(f".{path.name}.lock")):
        before = path.read_text("utf-8").splitlines() if path.exists() else []
        lines = list(before)
        yield lines
        if lines != before:
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
            write_in_place(path, "".join(f"{line}\n" for line in lines), mode)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        deadline_s = time.monotonic() + LOCK_S
        while not _is_ours(descriptor, lock):
            if time.monotonic() >= deadline_s:
                raise TimeoutError(f"another process has held {lock} for {LOCK_S:g} s; end it, or try again")
            time.sleep(LOOK_S)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # A process that was forked meanwhile holds the descriptor too.
    finally:
        os.close(descriptor)


def _is_ours(descriptor: int, lock: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # A disk without locks.
        log.warning("%s can't be locked (%s): see to it that no two edit the file at a time", lock, error)
    return True


def write_in_place(path: Path, text: str, mode: int) -> None:
    """Write a text file, whole or not at all, in place of the one that there may be. mode: its permissions.

    It is on the disk at the end. Raises OSError; all is as it was then.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    try:
        write_new(beside, text, mode)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _flush_folder(path)


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a text file where there is none, with these permissions; it is on the disk at the end, or isn't there.

    Raises FileExistsError, OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _flush_folder(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _flush_folder(path: Path) -> None:
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
