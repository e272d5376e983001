"""Members of a swarm as processes that are killed, stopped, starved and cut off, and what they saw meanwhile."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.chaos.worker import ENOUGH

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0


class Seen(NamedTuple):
    """A line of what a worker saw: see `worker`."""

    t: float
    alive: frozenset[str]
    step: int
    w: np.ndarray
    finished: bool


class Lost(RuntimeError):
    """A swarm didn't come to where it must."""


@dataclass
class Worker:
    """One `tests.chaos.worker`: started, killed and started again by the same command."""

    name: str
    folder: Path
    address: str
    words: Sequence[str]
    prefix: Sequence[str] = ()
    process: subprocess.Popen | None = None
    _seen: list[Seen] = field(default_factory=list)
    _read: int = 0

    def start(self) -> None:
        """Start it, for the first time or again."""
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [*self.prefix, sys.executable, "-m", "tests.chaos.worker", str(self.folder), self.name, *self.words]
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> float:
        """SIGKILL; the moment at which it was gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        return time.monotonic()

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    def seen(self) -> list[Seen]:
        """Everything that it saw so far."""
        with contextlib.suppress(FileNotFoundError), open(self.folder / "seen.jsonl") as file:
            file.seek(self._read)
            text = file.read()
            whole = text.rpartition("\n")[0]
            self._read += len(whole) + bool(whole)
            for line in whole.splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # Cut off by a SIGKILL.
                    s = json.loads(line)
                    self._seen.append(Seen(s["t"], frozenset(s["alive"]), s["step"], np.array(s["w"]), s["finished"]))
        return self._seen

    @property
    def alive(self) -> frozenset[str]:
        """Whom it counts as alive now."""
        seen = self.seen()
        return seen[-1].alive if seen else frozenset()

    @property
    def log(self) -> str:
        """What it wrote to standard error, the end of it."""
        return self.folder.with_suffix(".log").read_text()[-2000:]


@contextlib.contextmanager
def swarm(
    folder: Path, size: int, hosts: Sequence[tuple[str, Sequence[str]]] = (), silent_s: float = 5.0
) -> Iterator[list[Worker]]:
    """Workers that know one another, training; at the end all are gone. hosts: (address, prefix) of each."""
    hosts = hosts or [(f"tcp://127.0.0.1:{port}", ()) for port in _free_ports(size)]
    workers = []
    for number, (address, prefix) in enumerate(hosts):
        join = [other for other, _ in hosts[:number]]
        words = ["--listen", address, "--silent-s", str(silent_s), "--join", *join]
        workers.append(Worker(f"w{number}", folder / f"w{number}", address, words, prefix))
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        for worker in workers:
            if worker.runs:
                worker.kill()


def until(condition: Callable[[], bool], what: str, workers: Sequence[Worker] = (), for_s: float = DEADLINE_S) -> float:
    """Wait for it; how long it took in seconds. Raises Lost, also when a worker fails meanwhile."""
    began_s = time.monotonic()
    while not condition():
        failed = [w for w in workers if w.process is not None and w.process.poll() not in (None, 0, -signal.SIGKILL)]
        if failed:
            raise Lost(f"{failed[0].name} failed before {what}: {failed[0].log}")
        if time.monotonic() - began_s > for_s:
            raise Lost(f"waited {for_s:.0f} s until {what}: {[(w.name, sorted(w.alive)) for w in workers]}")
        time.sleep(0.05)
    return time.monotonic() - began_s


def whole(workers: Sequence[Worker]) -> bool:
    """Whether all count all as alive."""
    names = frozenset(worker.name for worker in workers)
    return all(worker.alive == names for worker in workers)


def finish(workers: Sequence[Worker]) -> bool:
    """Tell all to finish; whether they do and end well."""
    (workers[0].folder.parent / ENOUGH).touch()
    until(lambda: not any(worker.runs for worker in workers), "all have finished", workers)
    return all(w.process is not None and w.process.returncode == 0 and w.seen()[-1].finished for w in workers)


def distance(workers: Sequence[Worker]) -> float:
    """The consensus distance now."""
    thetas = np.array([worker.seen()[-1].w for worker in workers])
    return float(np.sqrt(((thetas - thetas.mean(0)) ** 2).sum(1).mean()))


def longest_pause_s(seen: Sequence[Seen], since_s: float = 0.0) -> float:
    """The longest time between two steps."""
    times, step = [], -1
    for each in seen:
        if each.t >= since_s and each.step != step:
            times.append(each.t)
            step = each.step
    return max((b - a for a, b in pairwise(times)), default=0.0)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute without end."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
