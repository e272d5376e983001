"""Whom we trust: a text file of public keys, one a line as in OpenSSH's authorized_keys, watched while it is used.

    # comments and empty lines
    2Xk0...43 characters...  site b
    observer mC8f...43 characters...  dashboard at headquarters
    nobody 9aQ2...43 characters...  a site that others have invited
    invite=1795000000 Zt4d...43 characters...  site c

A key alone may take part; one after `observer` may look and read vectors, but not train; one after `nobody` may do
nothing, whoever vouches for it; one after `invite` may be exchanged once, until that second of the clock, for a key
that may take part.
"""

import logging
import os
import stat
import threading
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from topology.errors import GossamerError
from transport.edited import edited
from transport.keys import KeyFileError, curve_of

log = logging.getLogger("gossamer")

AGENT, OBSERVER, NOBODY, INVITE = "agent", "observer", "nobody", "invite"

WARN_S = 60.0
"""Between two warnings that the file can't be read: what it held before counts meanwhile."""

UNCHANGED_S = 2.0
"""So long a file that was written in place stands before it takes keys out: what is copied there may be half there."""

MAX_VOUCHED = 4096
"""Keys that one agent may vouch for: whatever it does, those whom others have invited are let in."""


class TrustError(GossamerError, ValueError):
    """A file of trusted keys can't be used. One line: where, what was expected, what came."""

    code = "G310"


@dataclass(frozen=True)
class Trusted:
    """What a line says of a key. label: whose it is, for people. until_s: of an invitation, seconds of the clock."""

    key: str
    label: str = ""
    role: str = AGENT
    until_s: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it is an invitation whose time isn't over."""
        return self.role == INVITE and time.time() < self.until_s

    def __str__(self) -> str:
        role = f"{INVITE}={self.until_s}" if self.role == INVITE else "" if self.role == AGENT else self.role
        return " ".join(filter(None, (role, self.key, self.label)))


def parse(text: str, where: str = "the trusted keys") -> dict[str, Trusted]:
    """The keys in this text, by themselves. Raises TrustError."""
    found: dict[str, Trusted] = {}
    curves: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        role, _, until = words[0].partition("=")
        if role not in (OBSERVER, NOBODY, INVITE):
            role, until, words = AGENT, "", ["", *words]
        key, *label = words[1:] or [""]
        try:
            same = curves.setdefault(curve_of(key), key)
            until_s = int(until) if role == INVITE else 0
        except (KeyFileError, ValueError) as error:
            raise TrustError(f"{where}, line {number}: {error}") from None
        if same != key:
            raise TrustError(
                f"{where}, line {number}: expected each key once: {key} is {same} again, in another form; take one out"
            )
        found[key] = Trusted(key, " ".join(label), role, until_s)
    return found


def add(path: Path, trusted: Trusted) -> bool:
    """Write the key into the file, replacing any line about it; False if the file held just this line already."""
    with _edited(path) as lines:
        if parse("\n".join(lines), str(path)).get(trusted.key) == trusted:
            return False
        lines[:] = [*_without({trusted.key}, lines), str(trusted)]
        parse("\n".join(lines), str(path))
    return True


def add_new(path: Path, others: Iterable[Trusted]) -> list[Trusted]:
    """Write those of these keys of which the file says nothing yet: what it says of the others, which stays."""
    kept = []
    with _edited(path) as lines:
        held = {curve_of(key): said for key, said in parse("\n".join(lines), str(path)).items()}
        for other in others:
            if (said := held.setdefault(curve_of(other.key), other)) is other:
                lines.append(str(other))
            else:
                kept.append(said)
    return kept


def remove(path: Path, which: str) -> Trusted:
    """Take out the key, or the one key of this label: what the file said of it. Raises TrustError if there is none."""
    with _edited(path) as lines:
        held = parse("\n".join(lines), str(path)).values()
        gone = [each for each in held if which and which in (each.key, each.label)]
        if not gone:
            raise TrustError(
                f"{path} holds no key and no label {which!r:.60}: see `agent trust list --trust {path}`; a key that "
                f"others vouch for is kept out by `agent trust add KEY --role {NOBODY}`"
            )
        if len(gone) > 1:
            keys = " or ".join(each.key for each in gone)
            raise TrustError(
                f"{path} holds {len(gone)} keys of the label {which!r:.60}: name the one to remove, {keys}"
            )
        lines[:] = _without({gone[0].key}, lines)
    return gone[0]


@contextmanager
def _edited(path: Path) -> Iterator[list[str]]:
    try:
        with edited(path) as lines:
            yield lines
    except FileNotFoundError:
        raise TrustError(f"there is no folder {path.parent} for {path.name}: make it first, or give another") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"{path} can't be changed: {error}") from None


def _without(keys: Container[str], lines: Iterable[str]) -> list[str]:
    """The lines that name none of these keys, and no invitation whose time is over."""

    def stays(line: str) -> bool:
        return all(key not in keys and (said.role != INVITE or said.is_open) for key, said in parse(line).items())

    return list(filter(stays, lines))


class Trust:
    """The keys in the file `path`, as it is now, and those that agents in it vouch for. Raises TrustError.

    Any thread may ask: a reading replaces all at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned_s = -WARN_S
        self._changing = threading.Lock()
        self._entries: dict[str, Trusted] = {}
        self._vouched: dict[str, str] = {}
        self._used: dict[str, tuple[Trusted, str]] = {}
        """Of each invitation that was exchanged: what the file said of it, and for which key."""
        self._curves: dict[bytes, str] = {}
        self._stamp = self._look()
        self._seen = self._stamp, time.monotonic()
        """What the last look found, and since when."""
        self._take(parse(_read(path), str(path)))

    def role(self, key: str) -> str:
        """AGENT or OBSERVER; "" for who isn't trusted."""
        entry = self._entries.get(key)
        if entry is None:
            return AGENT if key in self._vouched else ""
        return entry.role if entry.role in (AGENT, OBSERVER) else ""

    def invites(self, key: str) -> bool:
        """Whether this is the key of an invitation that hasn't expired, though it may have been exchanged."""
        entry, _ = self._used.get(key, (self._entries.get(key), ""))
        return entry is not None and entry.is_open

    def entries(self) -> list[Trusted]:
        """All that the file holds, in its order."""
        return list(self._entries.values())

    def of_curve(self, curve: bytes) -> str | None:
        """The key to which this key of CURVE belongs, if it is trusted or an invitation."""
        key = self._curves.get(curve)
        return key if key is not None and (self.role(key) or self.invites(key)) else None

    def vouched(self, key: str, by: str) -> bool:
        """Whether this key may take part because `by` vouches for it; the file, if it names the key, decides alone."""
        if key in self._entries:
            return self.role(key) == AGENT
        try:
            curve = curve_of(key)
        except KeyFileError:
            return False
        with self._changing:
            is_new = curve not in self._curves and self._role_in_file(by) == AGENT
            if is_new and list(self._vouched.values()).count(by) < MAX_VOUCHED:
                self._vouched[key] = by
                self._curves = {**self._curves, curve: key}
                log.info("%s is let in: %s vouches for it", key, self._entries[by])
        return key in self._vouched

    def redeem(self, invitation: str, key: str) -> Trusted:
        """Exchange an invitation for a key that may take part, in the file. Raises TrustError, KeyFileError.

        Until it would have expired the same key gets the same answer again, as the first may have been lost.
        """
        curve = curve_of(key)
        _, by = self._used.get(invitation, (None, key))
        if by != key or not self.invites(invitation):
            raise TrustError("the invitation isn't valid any more: ask for a new one")
        with _edited(self.path) as lines:
            held = parse("\n".join(lines), str(self.path))
            if invitation in self._used and key in held and held[key].role == AGENT:
                return held[key]
            invited = held.get(invitation)
            if invited is None or not invited.is_open:
                raise TrustError("the invitation isn't valid any more: ask for a new one")
            if any(curve == curve_of(each) for each in held):
                raise TrustError(f"expected a key that {self.path} doesn't hold yet: got {key}")
            entry = Trusted(key, invited.label)
            lines[:] = [*_without({invitation}, lines), str(entry)]
        still_open = {each: used for each, used in self._used.items() if used[0].is_open}
        self._used = {**still_open, invitation: (invited, key)}
        self._take({each: said for each, said in self._entries.items() if each != invitation} | {key: entry})
        return entry

    def reread(self) -> list[Trusted]:
        """Read the file again if it has changed: the keys that may do less than before.

        A file that is gone or wrong changes nothing, with a warning: a slip of an editor ends no training. Nor does one
        that is written in place, and may be half there: it takes keys out once it has stood for `UNCHANGED_S`.
        """
        now = time.monotonic()
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return []
            if stamp != self._seen[0]:
                self._seen = stamp, now
            entries = parse(_read(self.path), str(self.path))
            in_place = stamp[-1] == self._stamp[-1]
            if in_place and self._entries.keys() - entries.keys() and now - self._seen[1] < UNCHANGED_S:
                return []
        except TrustError as error:
            if now - self._warned_s >= WARN_S:
                self._warned_s = now
                log.warning("%s; until it is mended, those it held before are trusted", error)
            return []
        before = {key: self.role(key) for key in (*self._entries, *self._vouched)}
        labels = self._entries
        self._stamp = stamp
        self._take(entries)
        lost = [key for key, role in before.items() if role and self.role(key) not in (role, AGENT)]
        return [Trusted(key, labels[key].label if key in labels else "", self.role(key)) for key in lost]

    def _take(self, entries: dict[str, Trusted]) -> None:
        with self._changing:
            self._entries = entries
            by_agents = {key: by for key, by in self._vouched.items() if self._role_in_file(by) == AGENT}
            curves = {curve_of(key): key for key in entries}
            self._vouched = {key: by for key, by in by_agents.items() if curve_of(key) not in curves}
            self._curves = {curve_of(key): key for key in (*self._used, *self._vouched)} | curves

    def _role_in_file(self, key: str) -> str:
        entry = self._entries.get(key)
        return entry.role if entry is not None else ""

    def _look(self) -> tuple[int, int, int]:
        """When it was changed, its size, and its inode: the same if it is written in place, or replaced twice."""
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
