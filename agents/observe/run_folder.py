"""What the agents of a run have written of their training: a snapshot, and how it came to be so; live or ended."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.claim import last_start
from agents.config import read_toml
from agents.observe.expected import predicted_slope
from agents.observe.metrics_lines import Line, before, evaluations, line_of
from agents.observe.reaching import runs
from agents.observe.seen import DEAD, AgentSeen, Alarm, Snapshot
from agents.observe.thinned import Thinned
from agents.values import SettingsError
from topology.errors import GossamerError

FILE = "metrics.jsonl"

WHOLE = 1 << 19
"""Bytes of metrics that are read whole; of a longer file SAMPLES lines are."""

SAMPLES = 800
"""Lines of one agent that are kept, at most, and as many of those that come of evaluations, of which there are few."""

QUIET_S = 5.0
"""A line older than this comes from an agent that is silent, or gone if its process is."""


class NoRunError(GossamerError, ValueError):
    """A folder can't be shown: no run, one that has only begun, or one of another version. One line: which."""

    code = "G410"


@dataclass
class Written:
    """What one agent has written, followed from where it was read to. settings: as it ran; facts: name, pid."""

    path: Path
    read: int = 0
    strange: int = 0
    rest: bytes = b""
    settings: dict[str, Any] = field(default_factory=dict)
    _kept: Thinned[Line] = field(default_factory=lambda: Thinned(SAMPLES))
    _judged: Thinned[Line] = field(default_factory=lambda: Thinned(SAMPLES))

    @property
    def lines(self) -> list[Line]:
        """What is kept of them, oldest first."""
        return self._kept.items

    @property
    def judged(self) -> list[Line]:
        """Those of them that hold metrics on held-out data, oldest first: no other line takes the place of one."""
        return self._judged.items

    @property
    def name(self) -> str:
        """The agent's."""
        start = last_start(self.path)
        return start.agent if start is not None and start.agent else self.path.name

    @property
    def distance(self) -> float | None:
        """The swarm's, as this agent last estimated it."""
        return next((line.distance for line in reversed(self.lines) if line.distance is not None), None)

    def follow(self) -> None:
        """Take in what was written since, if anything. A last line without its end is read when it has one."""
        file = self.path / FILE
        try:
            size = file.stat().st_size
            if size < self.read:
                self.read, self.rest = 0, b""  # It was begun anew.
            with file.open("rb") as opened:
                if not self.read and size > WHOLE:
                    judged = evaluations(opened, size - WHOLE // 8)
                    for place in range(SAMPLES):
                        opened.seek(place * (size - WHOLE // 8) // SAMPLES)
                        opened.readline()
                        self._take(opened.readline())
                    self._judged.begin(judged)
                    self.read = size - WHOLE // 8
                    opened.seek(self.read)
                    opened.readline()
                else:
                    opened.seek(self.read)
                new = self.rest + opened.read()
                self.read = opened.tell()
        except OSError:
            return
        *whole, self.rest = new.split(b"\n")
        for line in whole:
            self._take(line)

    def _take(self, text: bytes) -> None:
        """One line. What is none was torn by a crash, unless nothing else is there."""
        if not text.strip():
            return
        line = line_of(text)
        if line is None:
            self.strange += 1
            return
        if self._kept.last is not None and line.step < self._kept.last.step:
            for kept in (self._kept, self._judged):  # It goes on from an earlier step.
                kept.begin(before(kept.items, line.step))
        self._kept.add(line)
        if line.metrics:
            self._judged.add(line)


class RunFolder:
    """The folder of a run, with agents/*/ under it, or one agent's own. Raises NoRunError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: dict[Path, Written] = {}
        self._find()
        if not self._written:
            raise NoRunError(_nothing_in(path))
        torn = [each for each in self._written.values() if each.strange and not each.lines]
        if torn:
            raise NoRunError(
                f"{torn[0].path / FILE} isn't of this version, or is damaged: expected lines of metrics such as "
                '{"time": 1.0, "step": 10, "loss": 0.5}'
            )
        if not any(each.lines for each in self._written.values()):
            raise NoRunError(f"the agents of {path} have written no metrics yet: they do as soon as they train")
        self.settings = _settings(path) or next((s for each in self._written.values() if (s := each.settings)), {})

    @property
    def agents(self) -> dict[str, list[Line]]:
        """The lines of each agent, by name, oldest first; of a long run a sample."""
        return {each.name: each.lines for each in self._agents()}

    @property
    def judged(self) -> dict[str, list[Line]]:
        """Those that hold metrics on held-out data, of each agent, by name, oldest first."""
        return {each.name: each.judged for each in self._agents()}

    def look(self) -> Snapshot:
        """How far they are by now."""
        self._find()
        agents = [_seen(each, time.time()) for each in self._agents() if each.lines]
        if not any(each.alive for each in agents):  # The run has ended, all at once.
            agents = [replace(each, state="left") for each in agents]
        distances = sorted(distance for each in self._agents() if (distance := each.distance) is not None)
        apart = distances[len(distances) // 2] if distances else None
        gone = [
            Alarm(DEAD, each.agent, "its process has ended before it had trained")
            for each in agents
            if each.state == DEAD
        ]
        predicted = predicted_slope(self.settings, agents)
        alarms = tuple(gone)
        return Snapshot(
            self.path.name, 0, tuple(agents), apart, len(distances), alarms=alarms, predicted_slope=predicted
        )

    def _agents(self) -> Iterator[Written]:
        return iter(sorted(self._written.values(), key=lambda each: each.path))

    def _find(self) -> None:
        folders = [*self.path.glob(f"agents/*/{FILE}"), *self.path.glob(FILE)]
        for folder in (file.parent for file in folders):
            if folder not in self._written:
                self._written[folder] = Written(folder, settings=_settings(folder))
        for each in self._written.values():
            each.follow()


def _seen(written: Written, now: float) -> AgentSeen:
    line, start = written.lines[-1], last_start(written.path)
    age_s = max(0.0, now - line.time)
    state = "training"
    if start is not None and start.finished:
        state = "left"
    elif age_s > QUIET_S:
        state = "silent" if runs(written.path) else DEAD
    steps = written.settings.get("steps")
    first = written.lines[max(0, len(written.lines) - 20)]
    pace = (line.step - first.step) / (line.time - first.time) if line.time > first.time else None
    shard, codec = written.settings.get("shard", ""), written.settings.get("codec", "")
    return AgentSeen(
        agent=written.name,
        alive=state in ("training", "silent"),
        state=state,
        step=line.step,
        steps=steps if isinstance(steps, int) else 0,
        steps_s=pace if state == "training" else None,
        waited=None,
        loss=line.loss,
        to_mean=None,
        x=None,
        y=None,
        age_s=round(age_s, 1),
        exchanges=line.exchanges,
        started=None,
        answered=None,
        declined=None,
        failed=None,
        bytes_sent=line.bytes_sent,
        codec=str(codec),
        shard=str(shard),
        address="",
        bytes_by_codec=dict(line.bytes_by_codec),
    )


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return read_toml(folder / "config.toml")
    except SettingsError:
        return {}


def _nothing_in(path: Path) -> str:
    if not path.is_dir():
        return f"there is no folder {path}: expected that of a run, as `agent launch` and `agent run` print it"
    if (path / "config.toml").exists():
        return f"the agents of {path} have written no metrics yet: they do as soon as they train"
    deeper = sorted({file.parent.parent.parent for file in path.glob(f"*/agents/*/{FILE}")})
    hint = f": give {' or '.join(map(str, deeper[:3]))}" if deeper else f": expected agents/*/{FILE} in it, or {FILE}"
    return f"{path} holds no run{hint}"
