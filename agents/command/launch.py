"""`agent launch`: train with n agents on this machine, watch, assemble and report."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from agents import settings
from agents.command.flags import Gossiping, Json, Launching, Learning
from agents.command.processes import LaunchError, Process, Swarm
from agents.command.tables import members_table
from agents.config import as_flags, to_toml
from agents.fields import SettingsError
from agents.observe.card import Consensus
from agents.observe.observer import Observer
from transport.messages import Member

LOOK_S = 0.1
TELL_S = 2.0
INTERRUPTED = 130
PATIENCE_S = 86400
"""For the first agent to compile: it answers only then; if it ends instead, that is seen at once."""


def launch(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    *,
    launching: Launching,
    as_json: Json = False,
) -> int:
    """Train with n agents on this machine, watch, assemble and report."""
    n = launching.agents
    if not learning.task:
        raise SettingsError("--task is missing: name a built-in task or a task file, such as --task digits")
    began_s = time.monotonic()
    folder = launching.run_dir or Path("runs") / f"{Path(learning.task).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"--run-dir {folder} holds another run: give a new folder, or remove it")
    existed = folder.exists()
    (folder / "agents").mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(learning, gossiping, replace(launching, run_dir=None)))
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"{learning.task}, {n} agents; files in {folder}", highlight=False)
    swarm = Swarm(n, as_flags(learning, gossiping, whole=True), folder)
    with _interruptible() as interruption:
        try:
            swarm.start()
            watch = Watch(swarm, console)
            watch.until_assembled(lambda *more: _assembler(swarm, learning, *more), interruption)
        finally:
            swarm.stop()
            if swarm.refused:
                _remove(folder, existed)
    card = json.loads((folder / "consensus.json").read_text())
    report = _report(folder, time.monotonic() - began_s, swarm, card)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    if as_json:
        print(json.dumps(report), flush=True)
    else:
        _print(report, Consensus(**card).lines(), console)
    return 130 if interruption.seen else 0


class Interruption:
    """What Ctrl-C and SIGTERM do: at once KeyboardInterrupt; once deferred, only the second one."""

    def __init__(self) -> None:
        self.seen = False
        self._deferred = False

    def defer(self) -> None:
        """From now on there is something to assemble."""
        self._deferred = True

    def __call__(self, number: int, _: object) -> None:
        if self.seen or not self._deferred:
            raise KeyboardInterrupt
        self.seen = True


class Watch:
    """Looks at a launched swarm until the consensus is assembled; remembers the last word of each agent."""

    def __init__(self, swarm: Swarm, console: Console) -> None:
        self.swarm = swarm
        self.console = console
        self.last: dict[str, Member] = {}
        self._lost: set[str] = set()
        self._told_s = time.monotonic()
        self._observer = Observer(swarm.addresses)

    def until_assembled(self, assembler: Callable[..., Process], interruption: Interruption) -> None:
        """Show progress until the consensus is written; raises LaunchError if an agent can't start or none is left.

        assembler: starts to assemble, with "--wait" once all have finished, else now.
        """
        hurried = False
        with Live(console=self.console, refresh_per_second=8, transient=True, redirect_stdout=False) as live:
            while len(self.swarm.addresses) < len(self.swarm.processes):
                self.look()
            process = assembler("--wait")
            while process.alive:
                self.look()
                if self.last:
                    interruption.defer()
                if interruption.seen and not hurried:
                    hurried = True
                    self.console.print("stopping: assembling what there is (Ctrl-C again to stop at once)")
                    os.kill(process.handle.pid or 0, signal.SIGINT)
                self._show(live)
                process.handle.join(LOOK_S)
                if process.handle.exitcode == INTERRUPTED and hurried:  # It had not yet begun to wait.
                    process = assembler()
        if process.handle.exitcode:
            raise LaunchError("the consensus could not be assembled: " + process.last_words())

    def _show(self, live: Live) -> None:
        alive = self._observer.alive()
        here = {member.agent for member in alive}
        gone = [member for member in self.last.values() if member.agent not in here]
        living = sum(process.alive for process in self.swarm.processes)
        if self.console.is_terminal:
            silent_s = {agent: self._observer.silent_s(agent) for agent in self.last}
            live.update(members_table(f"{living} of {len(self.swarm.processes)} agents", alive, gone, silent_s))
        elif time.monotonic() - self._told_s > TELL_S:
            self._told_s = time.monotonic()
            self.console.print(_summary(alive, gone), highlight=False, markup=False)

    def look(self) -> None:
        """One look at the swarm and at the processes."""
        self._observer.watch(self.swarm.addresses)
        self._observer.refresh(0.5)
        for member in (*self._observer.alive(), *self._observer.gone()):
            self.last[member.agent] = member
        for process in self.swarm.processes:
            if not process.alive and process.name not in self._lost:
                self._lost.add(process.name)
                if process.name not in self.last:
                    raise LaunchError(process.last_words())
                code = process.handle.exitcode or 0
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                self.console.print(f"{process.name} {how}: the others go on", highlight=False)
        if len(self._lost) == len(self.swarm.processes):
            raise LaunchError(f"no agent is left: see {self.swarm.processes[0].folder / 'log'}")


def _summary(alive: list[Member], gone: list[Member]) -> str:
    members = [*alive, *gone]
    states = Counter(member.state for member in alive)
    states.update("left" if member.state == "left" else "silent" for member in gone)
    line = ", ".join(f"{count} {state}" for state, count in states.items()) or "starting"
    trained = [member for member in members if member.report.step]
    if trained:
        steps = [member.report.step for member in trained]
        loss = sum(member.report.loss for member in trained) / len(trained)
        exchanges = sum(member.report.exchanges for member in trained)
        line += (
            f": step {min(steps)} to {max(steps)} of {trained[0].report.steps}, loss {loss:.4f}, {exchanges} exchanges"
        )
    return line


def _assembler(swarm: Swarm, learning: Learning, *more: str) -> Process:
    """An `agent consensus`, as anyone could run it; if it waits for all to finish, it warms up while they train.

    It is told every address, so that it doesn't matter which of the agents ends early.
    """
    join = (f"--join={address}" for address in swarm.addresses)
    expect = (f"--expect={process.name}" for process in swarm.processes)
    out = ("--out", str(swarm.run_dir / "consensus.safetensors"), f"--timeout={PATIENCE_S}")
    task = (f"--task={learning.task}", *((f"--data={learning.data}",) if learning.data else ()))
    return swarm.command("consensus", swarm.run_dir / "assembly", ["consensus", *out, *task, *join, *expect, *more])


def _report(folder: Path, seconds: float, swarm: Swarm, card: dict[str, Any]) -> dict[str, Any]:
    agents = []
    for process in swarm.processes:
        last, metrics = process.last_measure(), card["metrics_of"].get(process.name, {})
        agents.append(
            {
                "agent": process.name,
                "steps": last.get("step", 0),
                "exchanges": last.get("exchanges", 0),
                "bytes_sent": last.get("bytes_sent", 0),
                "loss": metrics.get("loss"),
                "accuracy": metrics.get("accuracy"),
                "pid": process.handle.pid,
            }
        )
    names = ("agents", "missing", "accuracy", "loss", "metrics", "distance", "path")
    return {
        "run_dir": str(folder),
        "seconds": round(seconds, 3),
        "agents": agents,
        "mean_accuracy": card["mean_accuracy"],
        "best_accuracy": card["best_accuracy"],
        "consensus": {name: card[name] for name in names},
    }


def _print(report: dict[str, Any], lines: list[str], console: Console) -> None:
    """lines: what the consensus says of itself."""
    merged = report["consensus"]
    console.print(f"{len(merged['agents'])} agents, {report['seconds']:.1f} s; files in {report['run_dir']}")
    for line in lines:
        console.print(line, highlight=False, markup=False)


@contextmanager
def _interruptible() -> Iterator[Interruption]:
    interruption = Interruption()
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(folder: Path, existed: bool) -> None:
    """Nothing ever ran in it: leave no folder that would be in the way of the next try."""
    shutil.rmtree(folder)
    if existed:
        folder.mkdir()
