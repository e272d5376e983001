"""n agents on this machine, each a process of its own: the same `agent run` that a cluster would start.

The first agent listens on a free port and writes its address to its folder; the others join through it. Nobody
coordinates: this only starts processes, looks at the swarm as any observer can, assembles and says goodbye.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from topology.errors import GossamerError

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A fork server imports JAX once for all agents. It starts no backend and no thread, so forking it is safe."""


REFUSED = 2
"""The exit code of an `agent` command that an error on its command line, in its data or its swarm has ended."""


class LaunchError(GossamerError, RuntimeError):
    """An agent could not be started; its own words say why."""


@dataclass
class Process:
    """One `agent` command in a process of its own. folder: its run_dir, where its log is."""

    name: str
    folder: Path
    handle: BaseProcess

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.handle.is_alive()

    @property
    def address(self) -> str:
        """Where it listens, "" if it doesn't yet."""
        try:
            return str(json.loads((self.folder / "agent.json").read_text())["address"])
        except (FileNotFoundError, json.JSONDecodeError):
            return ""  # Not there yet, or not written to the end.

    def last_measure(self) -> dict[str, Any]:
        """The last whole line of its metrics, {} if it wrote none."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        whole = [line for line in lines if line.endswith("\n")]
        return dict(json.loads(whole[-1])) if whole else {}

    def last_words(self) -> str:
        """The end of its log, without the command's name."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("agent: ") if lines else f"it exited with {self.handle.exitcode} and no word"


class Swarm:
    """n agents as processes. arguments: what `agent run` is told, alike for all; run_dir: the run's folder."""

    def __init__(self, n: int, arguments: Sequence[str], run_dir: Path) -> None:
        self._n = n
        self._arguments = list(arguments)
        self.run_dir = run_dir
        self._context = multiprocessing.get_context(METHOD)
        self.processes: list[Process] = []
        self._others: list[Process] = []
        os.environ.update(cache(run_dir))
        os.environ.update(budget(n))
        if METHOD == "forkserver":
            self._context.set_forkserver_preload(["agents.agent", "agents.observe.assemble", "agents.command.run"])

    @property
    def refused(self) -> bool:
        """Whether the first agent would not start with what it was told, so that none ever ran."""
        began = any(self.run_dir.glob("agents/*/metrics.jsonl"))
        return bool(self.processes) and self.processes[0].handle.exitcode == REFUSED and not began

    @property
    def addresses(self) -> list[str]:
        """Where those listen that do by now."""
        return [address for process in self.processes if (address := process.address)]

    def start(self) -> None:
        """Start all, the others once the first listens. Raises LaunchError if it doesn't come up."""
        self._agent(0, [])
        first = self.processes[0]
        while not (address := first.address):
            if not first.alive:
                raise LaunchError(first.last_words())
            time.sleep(0.01)
        for index in range(1, self._n):
            self._agent(index, ["--join", address])

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask all to leave, and end those that don't."""
        everyone = [*self._others, *self.processes]
        for process in everyone:
            if process.alive and process.handle.pid:
                os.kill(process.handle.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + patience_s
        for process in everyone:
            process.handle.join(max(0.1, deadline_s - time.monotonic()))
            if process.alive:
                process.handle.kill()
                process.handle.join()

    def command(self, name: str, folder: Path, arguments: Sequence[str]) -> Process:
        """Another `agent` command as a process, ended with the rest; what it says goes to folder/log."""
        self._others.append(self._process(name, folder, arguments))
        return self._others[-1]

    def _process(self, name: str, folder: Path, arguments: Sequence[str]) -> Process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log").touch()
        handle = self._context.Process(target=_live, args=(list(arguments), str(folder / "log")), name=name)
        handle.start()
        return Process(name, folder, handle)

    def _agent(self, index: int, more: Sequence[str]) -> None:
        name = f"agent-{index:0{len(str(self._n - 1))}d}"
        folder = self.run_dir / "agents" / name
        placing = ["--listen", "tcp://127.0.0.1:0", "--shard", f"{index}/{self._n}", "--wait-for", str(self._n)]
        ours = ["--run", self.run_dir.name, "--name", name, "--run-dir", str(folder), "--no-evaluate"]
        self.processes.append(self._process(name, folder, ["run", *self._arguments, *placing, *more, *ours]))


def _live(arguments: list[str], log: str) -> None:
    """The life of one process: a session of its own, so that Ctrl-C reaches only the launcher; a name of its own."""
    from setproctitle import setproctitle

    from agents.command.cli import run_command
    from agents.command.sources import LOG, PREFIX

    if hasattr(os, "setsid"):
        os.setsid()
    with open(log, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    setproctitle(" ".join(["agent", *arguments]))
    for name in [name for name in os.environ if name.startswith(PREFIX) and name != LOG]:
        del os.environ[name]  # It was the launcher's; what we are told stands in the arguments.
    sys.exit(run_command(arguments))


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
