"""Whom we trust: a text file of public keys, one a line as in OpenSSH's authorized_keys, watched while it is used.

    # comments and empty lines
    2Xk0...43 characters...  site-b
    observer mC8f...43 characters...  dashboard at headquarters

A key alone may take part; one after `observer` may look and read vectors, but not train.
"""

import logging
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from topology.errors import GossamerError
from transport.keys import KeyFileError, curve_of

log = logging.getLogger("gossamer")

OBSERVER = "observer"

WARN_S = 60.0
"""Between two warnings that the file can't be read: what it held before counts meanwhile."""


class TrustError(GossamerError, ValueError):
    """A file of trusted keys can't be used. One line: where, what was expected, what came."""

    code = "G310"


@dataclass(frozen=True)
class Trusted:
    """A key that we trust. label: whose it is, for people. observer: it may look, and not take part."""

    key: str
    label: str = ""
    observer: bool = False

    def __str__(self) -> str:
        return " ".join([*([OBSERVER] if self.observer else []), self.key, *([self.label] if self.label else [])])


def parse(text: str, where: str = "the trusted keys") -> dict[str, Trusted]:
    """The keys in this text, by themselves. Raises TrustError."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        observer = words[0] == OBSERVER
        key, *label = words[1:] or [""] if observer else words
        try:
            curve_of(key)
        except KeyFileError as error:
            raise TrustError(f"{where}, line {number}: {error}") from None
        found[key] = Trusted(key, " ".join(label), observer)
    return found


def add(path: Path, trusted: Trusted) -> bool:
    """Write the key into the file, in place of what it says about the key; False if it says just that."""
    lines = _lines(path)
    now = parse("\n".join(lines), str(path))
    if now.get(trusted.key) == trusted:
        return False
    _write(path, [line for line in lines if trusted.key not in parse(line)] + [str(trusted)])
    return True


def remove(path: Path, which: str) -> list[Trusted]:
    """Take out the key, or all keys of this label: those that were in. Raises TrustError if none was."""
    lines = _lines(path)
    gone = [each for each in parse("\n".join(lines), str(path)).values() if which in (each.key, each.label)]
    if not gone:
        raise TrustError(f"{path} holds no key and no label {which!r:.60}: see `agent trust list --trust {path}`")
    keys = {each.key for each in gone}
    _write(path, [line for line in lines if keys.isdisjoint(parse(line))])
    return gone


class Trust:
    """The keys in the file `path`, as it is now. Raises TrustError.

    Others see one state or the next: a reading replaces all at once, so any thread may ask.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned_s = -WARN_S
        self._stamp = self._look()
        self._entries = parse(_read(path), str(path))
        self._curves = {curve_of(key): key for key in self._entries}

    def get(self, key: str) -> Trusted | None:
        """What the file says about this key; None if it isn't trusted."""
        return self._entries.get(key)

    def entries(self) -> list[Trusted]:
        """All that the file holds, in its order."""
        return list(self._entries.values())

    def of_curve(self, curve: bytes) -> str | None:
        """The trusted key to which this key of CURVE belongs."""
        return self._curves.get(curve)

    def reread(self) -> list[Trusted]:
        """Read the file again if it has changed: the keys that may do less than before, removed or made observers.

        A file that is gone or wrong changes nothing, with a warning: a slip of an editor ends no training.
        """
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return []
            entries = parse(_read(self.path), str(self.path))
        except TrustError as error:
            now = time.monotonic()
            if now - self._warned_s >= WARN_S:
                self._warned_s = now
                log.warning("%s; until it is mended, those it held before are trusted", error)
            return []
        before, self._stamp = self._entries, stamp
        self._entries, self._curves = entries, {curve_of(key): key for key in entries}
        return [
            each for key, each in before.items() if key not in entries or (entries[key].observer and not each.observer)
        ]

    def _look(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            raise TrustError(
                f"there is no file {self.path}: `agent trust add KEY --trust {self.path}` makes one"
            ) from None
        except OSError as error:
            raise TrustError(f"{self.path} can't be read: {error}") from None
        mode = stat.S_IMODE(found.st_mode)
        if os.name == "posix" and mode & 0o022:
            raise TrustError(
                f"{self.path} can be written by others (mode {mode:04o}), who could let anybody in: "
                f"`chmod go-w {self.path}`"
            )
        return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"{path} can't be read: {error}") from None


def _lines(path: Path) -> list[str]:
    return _read(path).splitlines() if path.exists() else []


def _write(path: Path, lines: list[str]) -> None:
    """Whole or not at all, with the permissions that it had."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
