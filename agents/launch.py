"""n agents on this machine, each a process of its own: the same `agent run` that a cluster would start.

The first agent listens on a free port and writes its address to its folder; the others join through it. Nobody
coordinates: this only starts processes, looks at the swarm as any observer can, assembles and says goodbye.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class LaunchError(RuntimeError):
    """An agent could not be started; its own words say why."""


@dataclass
class Process:
    """One agent. folder: its run_dir, where it writes agent.json once it listens, and its log."""

    name: str
    folder: Path
    handle: "subprocess.Popen[bytes]"

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.handle.poll() is None

    @property
    def address(self) -> str:
        """Where it listens, "" if it doesn't yet."""
        path = self.folder / "agent.json"
        try:
            return str(json.loads(path.read_text())["address"])
        except (FileNotFoundError, json.JSONDecodeError):
            return ""  # Not there yet, or not written to the end.

    def last_words(self) -> str:
        """The end of its log."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it exited with {self.handle.returncode} and no word"


class Swarm:
    """n agents as processes. arguments: what `agent run` is told, alike for all; run_dir: the run's folder."""

    def __init__(self, n: int, arguments: Sequence[str], run_dir: Path) -> None:
        self._n = n
        self._arguments = list(arguments)
        self._run_dir = run_dir
        self.processes: list[Process] = []

    def start(self, timeout_s: float = 60.0) -> str:
        """Start all; the address of the first. Raises LaunchError if it doesn't come up."""
        self._spawn(0, [])
        deadline_s = time.monotonic() + timeout_s
        first = self.processes[0]
        while not (address := first.address):
            if not first.alive:
                raise LaunchError(first.last_words().removeprefix("agent: "))
            if time.monotonic() > deadline_s:
                raise LaunchError(f"{first.name} does not listen after {timeout_s:g} s: see {first.folder / 'log'}")
            time.sleep(0.01)
        for index in range(1, self._n):
            self._spawn(index, ["--join", address])
        return address

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask all to leave, and end those that don't."""
        for process in self.processes:
            if process.alive:
                process.handle.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + patience_s
        for process in self.processes:
            try:
                process.handle.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.handle.kill()
                process.handle.wait()

    def _spawn(self, index: int, more: Sequence[str]) -> None:
        name = f"agent-{index:0{len(str(self._n - 1))}d}"
        folder = self._run_dir / "agents" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.json").unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "agents.command.cli", "run", *self._arguments, *more),
            *("--listen", "tcp://127.0.0.1:0", "--shard", f"{index}/{self._n}", "--wait-for", str(self._n)),
            *("--name", name, "--run-dir", str(folder)),
        ]
        with open(folder / "log", "wb") as log:
            handle = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | budget(self._n) | self.cache,
                start_new_session=True,
            )
        self.processes.append(Process(name, folder, handle))

    @property
    def cache(self) -> dict[str, str]:
        """Where compiled programs are kept, however small: the other agents need them (compiling.py)."""
        return {
            "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(self._run_dir / "compiled")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }


def budget(n: int) -> dict[str, str]:
    """One machine's threads and accelerator memory, shared out among n processes."""
    threads = str(max(1, (os.cpu_count() or 1) // n))
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # NPROC is XLA's
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / n:.3f}"} if n > 1 else {}
    return dict.fromkeys(names, threads) | memory
