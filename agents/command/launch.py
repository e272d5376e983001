"""`agent launch`: train with n agents on this machine, watch, assemble and report."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.live import Live

from agents.command.flags import Json
from agents.command.tables import members_table
from agents.launch import LaunchError, Process, Swarm
from agents.observer import Observer
from agents.settings import Gossiping, Learning, SettingsError, to_toml
from transport.messages import Member

log = logging.getLogger("gossamer")

LOOK_S = 0.1


def launch(
    learning: Learning,
    gossiping: Gossiping = Gossiping(),  # noqa: B008 - frozen
    *,
    n: Annotated[int, Parameter(name=["-n", "--agents"])],
    run_dir: Path | None = None,
    as_json: Json = False,
) -> int:
    """Train with n agents on this machine, watch, assemble and report.

    Parameters
    ----------
    n: How many agents.
    run_dir: The folder for everything that this run leaves; runs/TASK-TIME by default.
    """
    if n < 1:
        raise SettingsError(f"-n must be at least 1: got {n}")
    began_s = time.monotonic()
    folder = run_dir or Path("runs") / f"{Path(learning.task).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"--run-dir {folder} holds another run: give a new folder, or remove it")
    settings = asdict(learning) | asdict(gossiping)
    (folder / "agents").mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(settings))
    swarm = Swarm(n, _flags(learning, gossiping), folder)
    console = Console(stderr=True)
    with _interruptible() as interrupted:
        try:
            address = swarm.start()
            assembler = swarm.command("consensus", folder / "assembly", _assembly(swarm, address, learning, folder))
            watch = Watch(swarm, assembler, address, console)
            watch.until_assembled(interrupted)
        finally:
            swarm.stop()
    card = json.loads((folder / "consensus.json").read_text())
    report = _report(folder, time.monotonic() - began_s, watch, card)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    if as_json:
        print(json.dumps(report), flush=True)
    else:
        _print(report, console)
    return 130 if interrupted.is_set() else 0


class Watch:
    """Looks at a launched swarm until the consensus is assembled; remembers the last word of each agent."""

    def __init__(self, swarm: Swarm, assembler: Process, address: str, console: Console) -> None:
        self.swarm = swarm
        self._assembler = assembler
        self.console = console
        self.last: dict[str, Member] = {}
        self._lost: set[str] = set()
        self.observer = Observer([address])

    def until_assembled(self, interrupted: threading.Event) -> None:
        """Show progress until the consensus is written; raises LaunchError if an agent can't start or none is left."""
        self.observer.meet(60.0)
        hurried = False
        with Live(console=self.console, refresh_per_second=8, transient=True) as live:
            told_s = time.monotonic()
            while self._assembler.alive:
                self.look()
                if interrupted.is_set() and not hurried:
                    hurried = True
                    os.kill(self._assembler.handle.pid or 0, signal.SIGINT)
                members = list(self.last.values())
                living = sum(process.alive for process in self.swarm.processes)
                live.update(members_table(f"{living} of {len(self.swarm.processes)} agents", members))
                if not self.console.is_terminal and time.monotonic() - told_s > 2:
                    told_s = time.monotonic()
                    self.console.print(_summary(members), highlight=False)
                self._assembler.handle.join(LOOK_S)
        if self._assembler.handle.exitcode:
            raise LaunchError("the consensus could not be assembled: " + self._assembler.last_words())

    def look(self) -> None:
        """One look at the swarm and at the processes."""
        self.observer.refresh(0.5)
        for member in (*self.observer.alive(), *self.observer.gone()):
            self.last[member.agent] = member
        self.observer.watch(process.address for process in self.swarm.processes if process.alive)
        for process in self.swarm.processes:
            if not process.alive and process.name not in self._lost:
                self._lost.add(process.name)
                if process.name not in self.last:
                    raise LaunchError(process.last_words())
                self.console.print(f"{process.name} ended with {process.handle.exitcode}: the others go on")
        if len(self._lost) == len(self.swarm.processes):
            raise LaunchError(f"no agent is left: see {self.swarm.processes[0].folder / 'log'}")


def _summary(members: list[Member]) -> str:
    steps = [member.step for member in members]
    loss = sum(member.loss for member in members) / max(1, len(members))
    exchanges = sum(member.exchanges for member in members)
    return f"{len(members)} agents: step {min(steps, default=0)} to {max(steps, default=0)}, loss {loss:.4f}, {exchanges} exchanges"


def _assembly(swarm: Swarm, address: str, learning: Learning, folder: Path) -> list[str]:
    """The `agent consensus` that waits for all to finish, as anyone could run it; it warms up while they train."""
    data = ("--data", learning.data) if learning.data else ()
    expect = (flag for process in swarm.processes for flag in ("--expect", process.name))
    out = str(folder / "consensus.safetensors")
    return ["consensus", "--wait", "--join", address, "--out", out, "--task", learning.task, *data, *expect]


def _report(folder: Path, seconds: float, watch: Watch, card: dict[str, Any]) -> dict[str, Any]:
    agents = []
    for process in watch.swarm.processes:
        member = watch.last.get(process.name)
        metrics = card["metrics_of"].get(process.name, {})
        agents.append(
            {
                "agent": process.name,
                "steps": member.step if member else 0,
                "exchanges": member.exchanges if member else 0,
                "bytes_sent": member.bytes_sent if member else 0,
                "loss": metrics.get("loss"),
                "accuracy": metrics.get("accuracy"),
                "pid": process.handle.pid,
            }
        )
    names = ("agents", "missing", "accuracy", "loss", "distance", "path")
    return {
        "run_dir": str(folder),
        "seconds": round(seconds, 3),
        "agents": agents,
        "mean_accuracy": card["mean_accuracy"],
        "best_accuracy": card["best_accuracy"],
        "consensus": {name: card[name] for name in names},
    }


def _print(report: dict[str, Any], console: Console) -> None:
    merged = report["consensus"]
    missing = f", missing: {', '.join(merged['missing'])}" if merged["missing"] else ""
    console.print(f"{len(merged['agents'])} agents{missing}, {report['seconds']:.1f} s; files in {report['run_dir']}")
    if merged["accuracy"] is not None:
        console.print(
            f"accuracy: mean of agents {report['mean_accuracy']:.4f}, best agent {report['best_accuracy']:.4f}, "
            f"[bold]merged {merged['accuracy']:.4f}[/]; consensus distance {merged['distance']:.4g}"
        )


def _flags(learning: Learning, gossiping: Gossiping) -> list[str]:
    """The settings as flags of `agent run`: those that differ from their defaults."""
    flags = []
    for settings in (learning, gossiping):
        for item in fields(settings):
            value = getattr(settings, item.name)
            if item.default is MISSING or value != item.default:
                flags += [f"--{item.name.replace('_', '-')}", str(value)]
    return flags


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C or SIGTERM sets the event; a second one ends us at once."""
    event = threading.Event()

    def on_signal(number: int, _: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        log.info("stopping: assembling what there is (again to stop at once)")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
