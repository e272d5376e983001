"""The folder of one agent's life: its config as run, its address, its metrics, and where it stands."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents import checkpoint
from agents.checkpoint import Checkpoint, CheckpointError
from agents.config import to_toml
from agents.fields import Settings
from agents.settings import Learning

MEASURE_S = 0.2
"""At least, between two lines of metrics."""


class Folder:
    """The run_dir at `path`, made if it isn't there. facts: who we are, for a launcher that waits to read it."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self._measured_s = 0.0
        path.mkdir(parents=True, exist_ok=True)
        (path / "agent.json").write_text(json.dumps(facts))

    def abandon(self) -> None:
        """Leave nothing behind that only says where we would have listened."""
        (self.path / "agent.json").unlink(missing_ok=True)
        for folder in (self.path, self.path.parent):
            if not folder.exists() or any(folder.iterdir()):
                return
            folder.rmdir()

    def write_config(self, learning: Learning, *others: Settings) -> None:
        """Everything as run, in TOML that `from_toml` and --config read back."""
        paths = {name: getattr(learning, name) for name in ("task", "data")}
        whole = {name: str(Path(path).resolve()) for name, path in paths.items() if path and Path(path).exists()}
        absolute = replace(learning, **whole)  # A replay may be asked for from another folder.
        (self.path / "config.toml").write_text(to_toml(absolute, *others), "utf-8")

    def resume(self, **expected: Any) -> Checkpoint | None:
        """The checkpoint, if there is one. Raises CheckpointError if its facts aren't those expected."""
        path = self.path / checkpoint.FILE
        if not path.exists():
            return None
        found = checkpoint.load(path)
        for fact, ours in expected.items():
            if found.facts.get(fact) != ours:
                raise CheckpointError(
                    f"{path} has {fact} {found.facts.get(fact)}, this run {ours}: give another --run-dir to start anew"
                )
        return found

    def save(self, stand: Checkpoint) -> None:
        """Where the agent stands, in place of where it stood."""
        checkpoint.save(self.path / checkpoint.FILE, stand)

    def open(self) -> None:
        """From now on there are metrics."""
        self._metrics = open(self.path / "metrics.jsonl", "a", buffering=1)  # noqa: SIM115 - see close

    def measure(self, line: dict[str, Any], *, last: bool = False) -> None:
        """A line of metrics, five a second at most, or the last one."""
        now = time.monotonic()
        if last or now - self._measured_s >= MEASURE_S:
            self._measured_s = now
            self._metrics.write(json.dumps({"time": round(time.time(), 3)} | line) + "\n")

    def close(self) -> None:
        """There are no more metrics."""
        self._metrics.close()
