"""n agents on this machine, each a process of its own: the same `agent run` that a cluster would start.

The first agent listens on a free port and writes its address to its folder; the others join through it. No process
coordinates: this starts processes and ends them, and knows which of them still run.

A child ends with its launcher, however that ends: each holds the read end of a pipe whose write end is the launcher's
alone (child.py). If the fork server is killed instead, its children are no longer anybody's: they go on, the launcher
goes on supervising them by process id, and starts another fork server when it needs one.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from agents.checkpoint import FILE as CHECKPOINT
from agents.claim import run_name
from agents.command.child import kill_group, live
from agents.command.logs import failure
from agents.durable import generations, is_full
from agents.fields import settings_of
from agents.observe.stopping import exists
from agents.settings import Launching, Securing
from agents.sinks.names import place
from topology.errors import GossamerError

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A fork server imports JAX once for all agents. It starts no backend and no thread, so forking it is safe."""

PRELOADED = ["agents.command.forked", "agents.agent", "agents.observe.assemble", "agents.command.run"]
"""What the fork server imports, first the module that gives it a session of its own."""

REFUSED = 2
"""The exit code of an `agent` command that an error on its command line, in its data or its swarm has ended."""

LOST = 255
"""The exit code that multiprocessing gives to a child whose fork server was killed: whether it runs isn't known."""

WAIT_S = 60
"""How long agents wait for each other before they train: one may have been killed, and the others go on without it."""

NICEST = 19
"""The lowest scheduling priority that a process can have."""

STOP_S = 10.0
"""How long agents have to save and to leave when the launcher asks them to."""


class LaunchError(GossamerError, RuntimeError):
    """An agent could not be started, or all have ended; the message is the cause that its log gives."""

    code = "G501"


@dataclass
class Process:
    """One `agent` command in a process of its own. folder: its run_dir, where its log is."""

    name: str
    folder: Path
    handle: BaseProcess
    _address: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.handle.exitcode is None or (self.orphaned and exists(self.pid))

    @property
    def orphaned(self) -> bool:
        """Whether its fork server was killed, so that its end will be seen, but no exit code."""
        return self.handle.exitcode == LOST

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self.handle.pid is not None, "it was started when it was made"
        return self.handle.pid

    @property
    def address(self) -> str:
        """Where it listens, "" if it doesn't yet."""
        with suppress(OSError, ValueError):  # Not there yet, or no longer.
            self._address = str(json.loads((self.folder / "agent.json").read_text())["address"])
        return self._address

    def last_measure(self) -> dict[str, Any]:
        """The last whole line of its metrics, {} if it wrote none. What a crash tore is no line."""
        try:
            *whole, _ = (self.folder / "metrics.jsonl").read_bytes().split(b"\n")
        except OSError:
            return {}
        for line in reversed(whole):
            with suppress(ValueError):  # It is no JSON, or no object.
                return dict(json.loads(line))
        return {}

    def cause(self) -> str:
        """Why it failed: the error line of its log, or else how it ended and where its log is."""
        log, error = self.folder / "log", None
        with suppress(OSError):
            error = failure(log.read_text(errors="replace"))
        if error is None and is_full(self.folder):
            return f"{self.name} {self.end()}, and no space is left on the disk of {self.folder} for its log"
        return error or f"{self.name} {self.end()}; see {log}"

    def end(self) -> str:
        """How it ended, as a predicate."""
        code = self.handle.exitcode
        if code is None:
            return "still runs"
        if code == LOST:
            return "has ended"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def lower_priority(self) -> None:
        """Give it and all of its threads the lowest scheduling priority, where the system has priorities."""
        if self.alive and hasattr(os, "setpriority"):
            with suppress(OSError):  # It ended meanwhile, or leads no process group yet.
                os.setpriority(os.PRIO_PGRP, self.pid, NICEST)

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # It ended meanwhile.


class Swarm:
    """n agents as processes. arguments: of `agent run`, alike for all; run_dir: the run's folder.

    launching: how their logs look, and where their metrics go. evaluates: whether each judges its own model at the end.
    capacities: what share of a nested model each holds. preloaded: modules that these agents will need, besides those
    that any agent does.
    """

    def __init__(
        self,
        n: int,
        arguments: Sequence[str],
        run_dir: Path,
        launching: Launching | None = None,
        evaluates: bool = False,
        capacities: Sequence[str] = (),
        preloaded: Sequence[str] = (),
    ) -> None:
        self._n, self._evaluates, self._capacities = n, evaluates, capacities
        self._launching = launching or Launching(agents=n)
        self._arguments = list(arguments)
        self.run_dir = run_dir
        self._context: Any = multiprocessing.get_context(METHOD)
        self.processes: list[Process] = []
        self._others: list[Process] = []
        self._theirs, self._ours = multiprocessing.Pipe(duplex=False)
        for name in settings_of(Securing):  # They are for swarms of several machines; this one stays on loopback.
            os.environ.pop(f"AGENT_{name.key.upper()}", None)
        os.environ.update(cache(run_dir))
        os.environ.update(budget(n))
        if METHOD == "forkserver":
            self._context.set_forkserver_preload([*PRELOADED, *preloaded])

    @property
    def refused(self) -> bool:
        """Whether the first agent would not start with these arguments, so that none ever ran."""
        began = any(self.run_dir.glob("agents/*/metrics.jsonl"))
        return bool(self.processes) and self.processes[0].handle.exitcode == REFUSED and not began

    @property
    def addresses(self) -> list[str]:
        """Where those listen that do by now."""
        return [address for process in self.processes if (address := process.address)]

    def start(self, check: Callable[[], None]) -> None:
        """Start all, the others once the first listens. Raises LaunchError if it doesn't come up.

        check: called again and again; what it raises ends the start.
        """
        order = sorted(range(self._n), key=lambda index: not generations(self._folder(index) / CHECKPOINT))
        found = {order[0]: self._agent(order[0], [])}  # One that holds a model, if any does: others may adopt it.
        self.processes = list(found.values())
        first = found[order[0]]
        while not (address := first.address):
            check()
            if not first.alive:
                raise LaunchError(first.cause())
            time.sleep(0.01)
        for index in order[1:]:
            check()
            found[index] = self._agent(index, ["--join", address])
            self.processes = [found[index] for index in sorted(found)]

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """Ask all to leave, and kill those that don't within STOP_S, or at once when `hurried` returns true."""
        everyone = [*self._others, *self.processes]
        for process in everyone:
            process.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        while any(process.alive for process in everyone) and time.monotonic() < deadline_s and not hurried():
            time.sleep(0.02)
        for process in everyone:
            if process.alive:
                kill_group(process.pid)
            process.handle.join()
        self._ours.close()

    def command(self, name: str, folder: Path, arguments: Sequence[str]) -> Process:
        """Another `agent` command as a process, ended with the rest; its output goes to folder/log."""
        self._others.append(self._process(name, folder, arguments))
        return self._others[-1]

    def _process(self, name: str, folder: Path, arguments: Sequence[str]) -> Process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log").touch()
        given = list(arguments), str(folder / "log"), self._theirs
        handle = self._context.Process(target=live, args=given, name=name)
        handle.start()
        return Process(name, folder, handle)

    def _agent(self, index: int, more: Sequence[str]) -> Process:
        folder = self._folder(index)
        (folder / "agent.json").unlink(missing_ok=True)  # Of one that was interrupted: nobody listens there any more.
        placing = ["--listen", "tcp://127.0.0.1:0", "--shard", f"{index}/{self._n}", "--wait-for", str(self._n)]
        ours = [f"--run={run_name(self.run_dir)}", f"--name={folder.name}", f"--run-dir={folder}"]
        ours += ["--evaluate" if self._evaluates else "--no-evaluate"]
        ours += ["--capacity", self._capacities[index]] if self._capacities else []
        ours += ["--log", self._launching.log, "--wait-limit", str(WAIT_S), "--wait-else", "train"]
        ours += [f"--track={name}" for name in self._launching.track]
        if self._launching.prometheus is not None:
            ours.append(f"--prometheus={following(self._launching.prometheus, index)}")
        return self._process(folder.name, folder, ["run", *self._arguments, *placing, *more, *ours])

    def _folder(self, index: int) -> Path:
        return self.run_dir / "agents" / f"agent-{index:0{len(str(self._n - 1))}d}"


def following(prometheus: str, index: int) -> str:
    """Where the agent of this index serves its metrics: on the port so many after the first one's, which may be any."""
    host, port = place(prometheus)
    return f"{host}:{port + index if port else 0}"


def cache(run_dir: Path) -> dict[str, str]:
    """Where compiled programs are kept, however small: the other agents need them (compiling.py)."""
    return {
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(run_dir / "compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def budget(n: int) -> dict[str, str]:
    """One machine's threads and accelerator memory, shared out among n processes."""
    threads = str(max(1, (os.cpu_count() or 1) // n))
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # NPROC is XLA's
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / n:.3f}"} if n > 1 else {}
    return dict.fromkeys(names, threads) | memory
