"""An agent's folder, held by one process at a time: who the agent is, and which of its starts this is.

start.json holds the agent's name, its run, the number of its last incarnation and the words it was started with. The
number grows with each start and is on the disk before anything is published: no clock orders starts, so none can go
back. The lock is the system's (flock): it ends with the process that holds it, however that ends, and leaves nothing
behind that would have to be removed.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from glob import escape
from itertools import count
from pathlib import Path
from weakref import WeakSet

from agents.checkpoint import FILE as CHECKPOINT
from agents.checks import check_texts
from agents.durable import generations, hindrance, is_at, write_text
from agents.values import SettingsError, Shard
from topology.errors import GossamerError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("gossamer")

FILE, LOCK = "start.json", ".lock"

RUNS = Path("runs")
"""In which whoever is given no folder makes one."""

LOOK_S = 0.05


class FolderInUse(GossamerError, RuntimeError):
    """Another running process holds the folder. One line: which, and what to do."""

    code = "G401"


class NoIncarnation(GossamerError, OSError):
    """An agent's folder takes nothing, the number of an incarnation above all. One line: why, and what to do."""

    code = "G402"

    @classmethod
    def because(cls, path: Path, error: OSError) -> "NoIncarnation":
        """Where this file or folder can't be written."""
        return cls(
            f"{path} can't be written ({error.strerror or error}): an agent starts only once the number of its start "
            "is on the disk; make room there, or give another --run-dir"
        )


@dataclass(frozen=True)
class LastStart:
    """Of the agent whose folder this is. words: of the command. finished: whether it came to its end."""

    agent: str = ""
    run: str = ""
    incarnation: int = 0
    words: tuple[str, ...] = ()
    finished: bool = False


class Claim:
    """A folder that is ours until `release`, or until this process ends; made if it isn't there.

    Raises FolderInUse, or NoIncarnation where nothing can be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor: int | None = _locked(path)
        except OSError as error:
            raise NoIncarnation.because(path, error) from None
        _claims.add(self)
        self.last = last_start(path) or LastStart()

    def begin(self, agent: str, run: str, words: Iterable[str], least: int = 0, shared: bool = False) -> int:
        """The number of a new incarnation, once it is on the disk: greater than `least` and all before it here.

        shared: whether an agent in another folder may have this name, as one that was given. The first number is then
        microseconds of the clock, so theirs differ, and the swarm sees that they are two. Raises NoIncarnation: an
        agent whose number may be lost must publish nothing.
        """
        before = max(self.last.incarnation, least)
        number = before + 1 if before or not shared else time.time_ns() // 1000
        self.last = LastStart(agent, run, number, tuple(words))
        try:
            self._write()
        except OSError as error:
            raise NoIncarnation.because(self.path / FILE, error) from None
        return number

    def renew(self) -> None:
        """Make and lock the folder again if it was removed or moved away meanwhile. Raises OSError, or FolderInUse."""
        if self._descriptor is not None and not is_at(self.path / LOCK, self._descriptor):
            self.path.mkdir(parents=True, exist_ok=True)
            before, self._descriptor = self._descriptor, _locked(self.path)
            os.close(before)
            self._write()

    def finish(self) -> None:
        """It came to its end."""
        self.last = replace(self.last, finished=True)
        with suppress(OSError, FolderInUse):  # Then the same words go on where nothing is left to do.
            self.renew()
            self._write()

    def release(self) -> None:
        """Let others have it; a folder that was made here and holds nothing is removed."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            if self.made and [path.name for path in self.path.iterdir()] == [LOCK]:
                (self.path / LOCK).unlink()
                self.path.rmdir()
                self.path.parent.rmdir()
        self.close()

    def close(self) -> None:
        """Close the lock's file; a child that was forked does so at once, as it would hold on to it."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _write(self) -> None:
        write_text(self.path / FILE, json.dumps(asdict(self.last)))


_claims: WeakSet[Claim] = WeakSet()

_unreadable: set[Path] = set()
"""Of which a line has been logged: a dashboard reads them twice a second."""


def _let_go() -> None:
    for claim in list(_claims):
        claim.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def last_start(path: Path) -> LastStart | None:
    """Of the agent whose folder this is; None if it has none that can be read."""
    try:
        plain = json.loads((path / FILE).read_text("utf-8"))
        found = LastStart(**plain | {"words": tuple(plain["words"])})
        return replace(found, agent=str(found.agent), incarnation=int(found.incarnation))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        if path not in _unreadable:
            _unreadable.add(path)
            log.warning("%s can't be read (%s): going by the checkpoint", path / FILE, error)
        return None


def check_free(path: Path) -> None:
    """Raise FolderInUse if a running process holds the folder; nothing is made there."""
    if (path / LOCK).is_file() and (descriptor := _locked(path)) is not None:
        os.close(descriptor)


def check_unused(folder: Path) -> None:
    """Raise SettingsError unless a launch can have this folder: a new or an empty one, whose name can be shown."""
    check_texts(run_dir=run_name(folder))
    if why := hindrance(folder):
        raise SettingsError(f"--run-dir {folder}: {why}; give another folder")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if {"agents", "config.toml", FILE} & set(held):
        raise SettingsError(
            f"--run-dir {folder} holds another run: give a new folder, or remove it; `agent launch --resume "
            f"{folder}` goes on with it, `agent consensus {folder}` assembles what its agents have saved"
        )
    if held:
        raise SettingsError(
            f"--run-dir {folder} holds files that are no run's, such as {held[0]}: give a new or an empty folder"
        )


def run_name(folder: Path) -> str:
    """What the run of a launch in this folder is called: as the folder, "." and ".." being those they stand for."""
    return Path(os.path.abspath(folder)).name


def claim_default(base: Path, words: Iterable[str]) -> Claim:
    """The folder for an agent started with these arguments: where they were interrupted, or the first free one.

    Tried are `base`, base-2, base-3 and so on. One that is in use, in which a run has finished, or that other words
    have begun, is left alone.
    """
    words = tuple(words)
    for number in count(1):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        last = last_start(path)
        if last is None and (generations(path / CHECKPOINT) or (path / "agents").exists()):
            continue
        if last is not None and (last.words != words or last.finished):
            continue
        try:
            claim = Claim(path)
        except FolderInUse:
            continue
        if claim.last in (LastStart(), last):
            return claim
        claim.release()
    raise AssertionError("unreachable")


def interrupted_in(
    run_dir: Path | None, task: str, shard: Shard, words: Iterable[str]
) -> tuple[Path, LastStart] | None:
    """The folder in which these words were interrupted and which nobody holds, with its last start; None without one.

    run_dir: where it must be, if it was given. task: "" where only the swarm can name it: any task's folder will do.
    """
    words, base = tuple(words), default_folder(escape(task) or "*", shard.index, shard.shards)
    default = sorted(base.parent.glob(f"{base.name}*"), key=lambda path: (len(path.name), path.name))  # As they came.
    for path in default if run_dir is None else [run_dir]:
        last = last_start(path)
        if last is not None and last.words == words and not last.finished:
            with suppress(FolderInUse):
                Claim(path).close()
                return path, last
    return None


def default_folder(task: str, index: int, shards: int) -> Path:
    """Where an agent that was given no folder leaves its files. task: its name or file."""
    host = socket.gethostname().split(".")[0]
    which = f"-{index}of{shards}" if shards > 1 else ""
    return RUNS / f"{Path(task).stem}-{host}{which}"


def wait_until_free(path: Path, timeout_s: float) -> None:
    """Wait for a process that is ending to let go of its folder. Raises FolderInUse if it doesn't in time."""
    deadline_s = time.monotonic() + timeout_s
    while path.exists():
        try:
            Claim(path).close()
            return
        except FolderInUse:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(LOOK_S)


def _locked(path: Path) -> int | None:
    """A file whose lock is ours; None where the system or the disk has no such locks. Raises FolderInUse."""
    if sys.platform == "win32":
        return None
    while True:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_at(path / LOCK, descriptor):
                return descriptor
            os.close(descriptor)  # Its last holder has removed it meanwhile.
        except BlockingIOError:
            os.close(descriptor)
            raise FolderInUse(
                f"{path} is in use by another running agent{_whose(path)}: give another --run-dir, or stop that one"
            ) from None
        except OSError as error:
            os.close(descriptor)
            log.warning("%s can't be locked (%s): see to it that no two agents share it", path, error)
            return None


def _whose(path: Path) -> str:
    try:
        return f" (process {json.loads((path / 'agent.json').read_text())['pid']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def claimed(run_dir: Path | None, task: str, shard: Shard, words: Iterable[str]) -> Claim:
    """The folder that was given, or the one to which the same words lead again. Raises FolderInUse, SettingsError."""
    if run_dir is not None:
        if (run_dir / "agents").is_dir() and (run_dir / "config.toml").is_file() and last_start(run_dir) is None:
            raise SettingsError(
                f"--run-dir {run_dir} is the folder of a launch, whose settings and model this agent would overwrite: "
                f"give a new folder; `agent launch --resume {run_dir}` goes on with the launch"
            )
        return Claim(run_dir)
    return claim_default(default_folder(task, shard.index, shard.shards), words)
