"""`agents.launch`: `agent launch` from Python, as in a notebook: start it, watch it, take its model.

It is the command itself, in a process of its own: an interrupted cell doesn't reach it, and it ends with the Python
process that started it, however that ends.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from agents.checks import check_task
from agents.claim import RUNS, check_unused
from agents.command.fitted import ENDLESS
from agents.command.interruption import PARENT
from agents.command.logs import failure
from agents.command.status import describe
from agents.command.supervise import STOP_S, LaunchError
from agents.command.tables import members_table
from agents.config import as_flags, refuse_unknown
from agents.fields import Settings, settings_of
from agents.observe.card import CONSENSUS
from agents.observe.metrics_lines import last_distance
from agents.observe.observer import Observer
from agents.observe.reaching import addresses_in
from agents.settings import Gossiping, Launching, Learning
from agents.values import SettingsError
from transport.messages import AgentId, Identity, Member

if TYPE_CHECKING:
    from agents.learning.task import Params, Task

GRACE_S = STOP_S + 10.0
"""How long a launch may take to assemble what there is once it was asked to stop; then it is asked again."""

LOOK_S = 0.05

TASK = '''"""The task that was given to `agents.launch` as an object: the file beside this one holds it."""

from pathlib import Path

import cloudpickle

task = cloudpickle.loads(Path(__file__).with_suffix(".pickle").read_bytes())
'''


@dataclass(frozen=True)
class Snapshot:
    """A swarm at one moment; printed, or as the last value of a notebook's cell, it is a table.

    seconds: since the launch. running: whether the launch goes on. members: of each agent whose record came what
    `agent status --json` says, by name: "agent", "alive", "state", "step", "loss", "exchanges" and more.
    consensus_distance: how far all models are from agreeing, as the agents estimate it by sketches; None where unknown.
    """

    seconds: float
    running: bool
    members: tuple[dict[str, Any], ...]
    text: str
    consensus_distance: float | None = None

    @property
    def step(self) -> float:
        """Local steps, the mean over the agents; 0 before any record came."""
        return float(sum(member["step"] for member in self.members) / max(1, len(self.members)))

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"


class Result(NamedTuple):
    """What a launch ends with. params, task: the consensus model. report: what `agent launch --json` prints.

    Of "accuracy", "distance" and the rest of the merged model it speaks under "consensus".
    """

    params: "Params"
    task: "Task"
    report: dict[str, Any]


class Launched:
    """A launch that runs; made by `launch`. run_dir: the folder of all that it leaves, whatever folder we are in."""

    def __init__(self, run_dir: Path, task: "str | Path", given: "str | Task", arguments: list[str]) -> None:
        self.run_dir, self._given, self._task = run_dir, given, task
        self._began_s = time.monotonic()
        self._log = TemporaryFile("w+")  # noqa: SIM115 - it is closed by `stop`
        self._observer = Observer(())
        self._seen: dict[AgentId, Member] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agents.command.cli", "launch", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C, and a notebook's interruption, reach us alone.
            env=os.environ | {PARENT: str(os.getpid())},
        )

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else f"ended with exit code {self._process.returncode}"
        return f"<launch of {self._task} in {self.run_dir}: {state}>"

    @property
    def running(self) -> bool:
        """Whether it still trains, or assembles its model."""
        return self._process.poll() is None

    def snapshot(self) -> Snapshot:
        """How the swarm is now: the agents whose records have come so far."""
        self._observer.watch(addresses_in(self.run_dir))
        if self.running:
            self._observer.refresh(0.5)
        alive = self._observer.alive() if self.running else []
        here = {member.agent for member in alive}
        self._seen |= {member.agent: member for member in (*self._observer.gone(), *alive)}
        if not self.running:
            self._seen |= self._ended()
        gone = [member for agent, member in sorted(self._seen.items()) if agent not in here]
        silent_s = {agent: self._observer.silent_s(agent) for agent in self._seen}
        members = [describe(member, member.agent in here, silent_s[member.agent]) for member in (*alive, *gone)]
        seconds, running = time.monotonic() - self._began_s, self.running
        title = f"{self.run_dir.name}: {len(alive)} alive, {seconds:.1f} s"
        written = StringIO()
        shown = Console(file=written, width=ENDLESS, color_system=None, force_jupyter=False)
        shown.print(members_table(title, alive, gone, silent_s))
        text = written.getvalue().rstrip()
        ordered = tuple(sorted(members, key=lambda each: str(each["agent"])))
        distance = last_distance(self.run_dir.glob("agents/*/metrics.jsonl"))
        return Snapshot(round(seconds, 3), running, ordered, text, distance)

    def watch(self, every_s: float = 1.0) -> Iterator[Snapshot]:
        """A snapshot each `every_s` seconds while the launch goes on, and one of its end.

        Interrupting it leaves the swarm alone. Raises LaunchError if the launch fails.
        """
        if not every_s > 0:
            raise SettingsError(f"every_s is a positive number of seconds: got {every_s!r}")
        while self.running:
            yield self.snapshot()
            self._wait(every_s)
        self._check()
        yield self.snapshot()

    def consensus(self, timeout_s: float | None = None) -> Result:
        """Wait until all have trained and the consensus model is assembled, and load it.

        Raises LaunchError if the launch has failed, or hasn't ended within `timeout_s` seconds; it goes on then, as it
        does where the wait is interrupted.
        """
        if not self._wait(timeout_s):
            raise LaunchError(
                f"the launch in {self.run_dir} still trains after {timeout_s:g} s: wait longer, or stop it"
            )
        self._check()
        from agents.observe.loaded import load_consensus

        loaded = load_consensus(self.run_dir / CONSENSUS, self._given)
        report = self.run_dir / "report.json"  # Its disk may have taken the model, and nothing after it.
        return Result(*loaded, json.loads(report.read_text()) if report.is_file() else {})

    def stop(self) -> None:
        """End the training where it is, assemble what there is, and leave no process behind; again, it does nothing."""
        for wait_s in (GRACE_S, STOP_S + 1.0):
            if self.running:
                self._process.terminate()
                self._wait(wait_s)
        if self.running:
            self._process.kill()  # Its agents end with it.
            self._process.wait()
        self._observer.close()
        self._words()
        self._log.close()

    def _ended(self) -> dict[AgentId, Member]:
        """The agents of a launch that has ended, as its report has them; {} where it left none."""
        file = self.run_dir / "report.json"
        if not file.is_file():
            return {}
        found = {}
        for last in json.loads(file.read_text())["agents"]:
            agent = AgentId(last["agent"])
            known = self._seen.get(agent, Member(Identity(agent, 0)))
            loss = known.report.loss if last["loss"] is None else last["loss"]
            counts = {name: last[name] for name in ("exchanges", "bytes_sent", "lost")}
            report = replace(known.report, step=last["steps"], loss=loss, **counts)
            found[agent] = replace(known, liveness=replace(known.liveness, state="left"), report=report)
        return found

    def _wait(self, seconds: float | None) -> bool:
        """Whether the launch ended within this time; None waits for it. Ctrl-C ends the wait alone."""
        deadline_s = time.monotonic() + seconds if seconds is not None else None
        while self.running and (deadline_s is None or time.monotonic() < deadline_s):
            time.sleep(LOOK_S)
        return not self.running

    def _words(self) -> str:
        """What the launch has printed so far, on stderr."""
        if not self._log.closed:
            self._log.seek(0)
            self._text = self._log.read()
        return self._text

    def _check(self) -> None:
        """Raises LaunchError, with the last line that the launch printed, unless its model is there."""
        text = self._words()
        if not (self.run_dir / "report.json").is_file():
            lines = text.strip().splitlines()
            raise LaunchError(failure(text) or (lines[-1] if lines else f"{self!r} left no model"))


def launch(task: "str | Path | Task", agents: int, *, run_dir: str | Path | None = None, **settings: Any) -> Launched:
    """Train with n agents on this machine, each a process, and return at once: `with launch("digits", 4) as swarm:`.

    task: a built-in one by name, a task file, or a Task, which is written beside the run's folder for the agents to
    load. settings: those of `agent launch`, by the names of its flags: topology="ring", every="5steps", steps=300.
    run_dir: the folder for everything that the run leaves; runs/TASK-TIME by default. Leaving the `with` block, or
    `stop`, ends it; so does the end of this Python process. Raises SettingsError, or TaskError for a task that isn't
    there, before anything starts.
    """
    groups = [_of(kind, settings) for kind in (Learning, Gossiping)]
    placed = {each.name for each in settings_of(Launching)} - {"agents", "run_dir"}
    known = placed.union(each.name for group in groups for each in settings_of(type(group)))
    refuse_unknown(settings, known, "launch", "it takes those of `agent launch`, see its --help")
    if named := isinstance(task, str | Path):
        check_task(str(task))
    name = Path(str(task)).stem if named else str(getattr(task, "name", "task"))
    folder = Path(run_dir) if run_dir is not None else _fresh(name)
    check_unused(folder)
    folder = Path(os.path.abspath(folder))  # Whoever goes to another folder finds it all the same.
    launching = Launching(agents=agents, run_dir=folder, **{name: settings[name] for name in placed & settings.keys()})
    given: Any = task
    if named:
        there = Path(str(task)).expanduser()
        given = os.path.abspath(there) if there.suffix == ".py" else str(task)
    file = given if named else _written(given, folder)
    return Launched(folder, name, given, [*as_flags(*groups, launching, given=True), "--task", str(file), "--json"])


def _of(kind: type[Settings], given: dict[str, Any]) -> Settings:
    """The settings of this class among those given. Raises SettingsError."""
    return kind(**{each.name: given[each.name] for each in settings_of(kind) if each.name in given})


def _fresh(name: str) -> Path:
    """The path of a new folder, runs/TASK-TIME, with a number behind it if that exists; - for what no path holds."""
    held = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "task"
    stem, number = RUNS / f"{held}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    folder = stem
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")
    return folder


def _written(task: "Task", folder: Path) -> Path:
    """A task file that holds this Task, beside the run's folder. Raises SettingsError if it can't be written down."""
    import cloudpickle

    from agents.learning.task import Task as OfTask

    if not isinstance(task, OfTask):
        raise SettingsError(f"launch takes a built-in task's name, a task file or a Task: got {type(task).__name__}")
    place = Path(os.path.abspath(folder))
    file = place.with_name(f"{place.name}-task.py")
    try:
        held = cloudpickle.dumps(task)
    except Exception as error:
        raise SettingsError(
            f"this Task can't be given to other processes ({error}): write it into a file that defines `task`"
        ) from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".pickle").write_bytes(held)
    file.write_text(TASK)
    return file
