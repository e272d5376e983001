"""The sites of `make hospitals`, and of one its agent's process, its folder, what it logs and measures."""

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

WEST = ["Aarhus", "Bern", "Cork", "Delft", "Essen"]
EAST = ["Ghent", "Lille", "Malmo"]
SITES = [*WEST, *EAST]
SLOW, LIAR, KILLED = "Cork", "Delft", "Essen"
HEALTHY = [site for site in SITES if site not in (SLOW, LIAR, KILLED)]


@dataclass
class Site:
    """One site's agent: its process, its folder, what it logs."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Of its log, each with the time at which it was seen."""

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self, words: list[str], step_s: float) -> int:
        """A process for it; its pid."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_")}
        environment |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment |= {"JAX_PLATFORMS": "cpu", "AGENTS_STEP_S": str(step_s)}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """At once, as a power cut does."""
        if self.alive:
            assert self.process is not None
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def look(self, now: float) -> None:
        """Take in what it has logged."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.log.read_text(errors="replace").splitlines(keepends=True)
            self.lines += [(now, line.rstrip()) for line in lines[len(self.lines) :] if line.endswith("\n")]

    @property
    def measures(self) -> list[dict[str, Any]]:
        """The whole lines of its metrics."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def step(self) -> int:
        measures = self.measures
        return int(measures[-1]["step"]) if measures else 0

    @property
    def consensus(self) -> Path:
        return self.folder / "consensus.safetensors"


def longest_pause_s(measures: list[dict[str, Any]]) -> float:
    """Between two lines of metrics whose steps differ."""
    moved = [line for before, line in pairwise(measures) if line["step"] != before["step"]]
    times = [line["time"] for line in [*measures[:1], *moved]]
    return max((b - a for a, b in pairwise(times)), default=0.0)


def rate(measures: list[dict[str, Any]]) -> float:
    """Steps a second while it trained."""
    moved = [line for before, line in pairwise(measures) if line["step"] != before["step"]]
    return (moved[-1]["step"] - moved[0]["step"]) / (moved[-1]["time"] - moved[0]["time"]) if len(moved) > 1 else 0.0


def last_line(site: Site) -> str:
    """Of its log."""
    return site.lines[-1][1] if site.lines else "it logged nothing"
