"""What an agent leaves on disk: a folder with its config as run, address, metrics, checkpoint and consensus.

A disk that is full or gone costs what can't be written, with a warning, and never the training.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeVar

from agents import checkpoint
from agents.checkpoint import Checkpoint, CheckpointError
from agents.claim import FolderInUse, NoIncarnation
from agents.config import to_toml
from agents.durable import clean_all, copy_whole, is_at, write_text
from agents.fields import Settings
from agents.journal import Journal
from agents.jsonable import jsonable
from agents.observe.card import CONSENSUS, Consensus, write_model
from agents.settings import Learning
from agents.tensors import Parameters, Vector

log = logging.getLogger("gossamer")

METRICS = "metrics.jsonl"

S = TypeVar("S", bound=Settings)

MEASURE_S = 0.2
"""At least, between two lines of metrics."""

WARN_S = 60.0
"""At least, between two warnings that something can't be written."""


class Folder:
    """An agent's folder `path`, made if it isn't there. facts: name, address and pid, written to agent.json at once.

    keep: how many checkpoints to keep. renew: claims the folder again if it was removed, of another agent's raises
    FolderInUse. Raises NoIncarnation where nothing can be written.
    """

    def __init__(
        self, path: Path, facts: dict[str, Any], keep: int = 1, renew: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._renew, self._texts = renew, {"agent.json": json.dumps(facts)}
        self._keep = keep
        self._measured_s = 0.0
        self._metrics: TextIO | None = None
        self._warned_s: dict[str, float] = {}
        self._journal = Journal()
        try:
            path.mkdir(parents=True, exist_ok=True)
            clean_all(path)
            write_text(path / "agent.json", self._texts["agent.json"])
        except OSError as error:
            raise NoIncarnation.because(path, error) from None

    def abandon(self) -> None:
        """Remove agent.json, and the folders that are empty then: of an agent that did not start."""
        (self.path / "agent.json").unlink(missing_ok=True)
        for folder in (self.path, self.path.parent):
            if not folder.exists() or any(folder.iterdir()):
                return
            folder.rmdir()

    def write_config(self, learning: Learning, *others: Settings) -> None:
        """Everything as run, in TOML that `from_toml` and --config read back."""
        text = self._texts["config.toml"] = to_toml(absolute(learning), *map(absolute, others))
        self._try(f"the settings in {self.path}", lambda: write_text(self.path / "config.toml", text))

    def resume(self, **expected: Any) -> Checkpoint | None:
        """The newest whole checkpoint, if there is one. Raises CheckpointError if its facts aren't those expected."""
        path = checkpoint.newest(self.path / checkpoint.FILE, aside=True)
        if path is None:
            return None
        found = checkpoint.load(path)
        for fact, ours in expected.items():
            if found.facts.get(fact) != ours:
                raise CheckpointError(
                    f"{path} has {fact} {found.facts.get(fact)}, this run {ours}: give another --run-dir to start anew"
                )
        return found

    def save(self, stand: Checkpoint) -> bool:
        """Where the agent stands, in place of where it stood; False, and a warning, if it can't be written."""
        path = self.path / checkpoint.FILE
        saved = self._try(f"the checkpoint {path}", lambda: checkpoint.save(path, stand, self._keep))
        if saved:
            self._journal.note("written", f"wrote the checkpoint {path}", path=str(path), step=stand.facts.get("step"))
        return saved

    def keep_best(self) -> bool:
        """The checkpoint that was just written is the best one too, under a name that later ones don't take."""
        path = self.path / checkpoint.BEST
        return self._try(f"the best checkpoint {path}", lambda: copy_whole(self.path / checkpoint.FILE, path))

    def consensus(self, theta: Vector, parameters: Parameters, card: Consensus, **facts: Any) -> bool:
        """The consensus model with its card and facts of ours; False, and a warning, if it can't be written."""
        path = self.path / CONSENSUS
        card.path = str(path)
        written = self._try(f"the consensus {path}", lambda: write_model(path, theta, parameters, card, **facts))
        if written:
            beside = " with its metrics" if card.metrics else ""
            self._journal.note("written", f"wrote the consensus model {path}{beside}", path=str(path))
        return written

    def open(self) -> None:
        """From now on there are metrics, behind those of earlier starts: a line that a crash tore ends where it is."""

        def begin() -> None:
            file = self.path / METRICS
            torn = file.is_file() and not _ends(file)  # A device has no end, a pipe none yet.
            self._metrics = open(file, "a", buffering=1)  # noqa: SIM115 - see close
            if torn:
                self._metrics.write("\n")

        self._try(f"metrics in {self.path}", begin)

    def measure(self, line: dict[str, Any], *, always: bool = False) -> bool:
        """A line of metrics, five a second at most unless it is one to write always; false if it was too early for it.

        A warning if it can't be written.
        """
        now = time.monotonic()
        due = always or now - self._measured_s >= MEASURE_S
        if self._metrics is not None and due:
            self._measured_s = now
            text = json.dumps(jsonable({"time": round(time.time(), 3)} | line)) + "\n"
            self._try(f"metrics in {self.path}", lambda: self._metrics and self._metrics.write(text))
        return due

    def close(self) -> None:
        """There are no more metrics."""
        if self._metrics is not None:
            metrics, self._metrics = self._metrics, None
            self._try(f"metrics in {self.path}", metrics.close)

    def _restore(self) -> None:
        """Where the folder, or its metrics, were removed or moved away meanwhile: begin them anew. Raises OSError."""
        file, metrics = self.path / METRICS, self._metrics
        if metrics is None or is_at(file, metrics.fileno()):
            return
        self._renew()
        for name, text in self._texts.items():
            if not (self.path / name).exists():
                write_text(self.path / name, text)
        self._metrics = open(file, "a", buffering=1)  # noqa: SIM115 - see close
        log.warning("%s was removed or moved away: a new one is begun, without what the old one held", file)
        with suppress(OSError):
            metrics.close()

    def _try(self, what: str, write: Callable[[], Any]) -> bool:
        try:
            self._restore()
            write()
            return True
        except (OSError, FolderInUse) as error:
            now = time.monotonic()
            if now - self._warned_s.get(what, -WARN_S) >= WARN_S:
                self._warned_s[what] = now
                log.warning("%s could not be written (%s): going on without", what, error)
            return False


def _ends(file: Path) -> bool:
    """Whether the last line of a file has its end, or there is none."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        return opened.read(1) in (b"", b"\n")


def absolute(settings: S) -> S:
    """With whole paths: who resumes or replays may do so from another folder."""
    paths = {name: getattr(settings, name, None) for name in ("task", "data", "key", "trust", "secret")}
    whole: dict[str, Any] = {
        name: str(Path(path).resolve()) for name, path in paths.items() if path and Path(path).exists()
    }
    return replace(settings, **whole)
