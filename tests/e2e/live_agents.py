"""Real `agent` processes for the tests: started in a folder, watched with deadlines, none left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 90.0
AGENT = [sys.executable, "-m", "agents.command.cli"]


class Running:
    """One `agent` command. prefix: what to run it with, such as `ip netns exec`."""

    def __init__(self, folder: Path, arguments: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.out = folder / f"{time.monotonic_ns()}.out"
        self.err = self.out.with_suffix(".err")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_")}
        environment |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "NPROC": "1"}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [*prefix, *AGENT, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def stderr(self) -> str:
        """What it wrote to stderr so far."""
        return self.err.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """What the condition gives once it is true; fails if the command ends before, or never gets there."""

        def looked() -> Any:
            ended = self.process.poll() is not None
            value = condition()
            if not value and ended:
                pytest.fail(f"ended with {self.process.returncode} before {what}: {self.stderr}")
            return value

        return wait_until(looked, what, lambda: self.stderr)

    def wait_for_text(self, text: str) -> None:
        """Until it has written this to stderr."""
        self.wait_for(lambda: text in self.stderr, f"it wrote {text!r}")

    def end(self, code: int = 0) -> str:
        """Its stdout, when it has ended with this code."""
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still runs after {DEADLINE_S:.0f} s: {self.stderr}")
        assert self.process.returncode == code, self.stderr
        return self.out.read_text()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


Start = Callable[..., Running]


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Start]:
    """Starts commands in this folder; at the end nothing that names the folder runs on."""
    running: list[Running] = []

    def start(*arguments: object, prefix: Sequence[str] = ()) -> Running:
        running.append(Running(folder, [str(argument) for argument in arguments], prefix))
        return running[-1]

    try:
        yield start
    finally:
        for each in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()
        for pid in naming(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start_two(start: Start, folder: Path, *more: object) -> tuple[Running, Running, str]:
    """Two agents on digits, `one` and `two` as their folders are called, and the address of the first.

    more: further arguments of both.
    """
    common = ("run", "--task", "digits", "--listen", "tcp://127.0.0.1:0", "--no-evaluate", *more)
    one = start(*common, "--shard", "0/2", "--name", "one", "--run-dir", folder / "one")
    address = address_of(one, folder / "one")
    two = start(*common, "--shard", "1/2", "--name", "two", "--run-dir", folder / "two", "--join", address)
    return one, two, address


def address_of(command: Running, folder: Path) -> str:
    """Where the agent whose run_dir this is listens, once it does."""
    return str(command.wait_for(lambda: facts(folder), "it listens")["address"])


def write_linear_task(path: Path, metrics: str = "{}", defining: str = "") -> None:
    """A task file with three weights, whose squared error is that of `residual(params, batch)`, and no accuracy.

    metrics: an expression in params and batch. defining: lines that stand before it, from the file's line 9 on.
    """
    path.write_text(
        "import jax\nimport jax.numpy as jnp\nimport numpy as np\nfrom agents import Task\n"
        "data = {'x': np.ones((40, 3), np.float32), 'y': np.ones(40, np.float32)}\n"
        "def residual(params, batch):\n    return batch['x'] @ params['w'] - batch['y']\n\n"
        f"{defining}"
        "task = Task(init=lambda key: {'w': jnp.zeros(3)},\n"
        "    loss=lambda params, batch, key: jnp.mean(residual(params, batch) ** 2),\n"
        f"    metrics=lambda params, batch: {metrics}, train=data, test=data)\n"
    )


def naming(folder: Path) -> list[int]:
    """The processes that name this folder on their command line or work in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder) in (entry / "cmdline").read_text(errors="replace")
            zombie = ") Z " in (entry / "stat").read_text(errors="replace")
            if int(entry.name) != os.getpid() and not zombie and (named or Path(os.readlink(entry / "cwd")) == folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], Any], what: str, context: Callable[[], str] = str) -> Any:
    """What the condition gives once it is true; fails after DEADLINE_S."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited {DEADLINE_S:.0f} s until {what}: {context()}")
        time.sleep(0.02)
    return value


def facts(folder: Path) -> dict[str, Any]:
    """Name, pid and address of the agent whose run_dir this is, {} as long as it has none."""
    try:
        return dict(json.loads((folder / "agent.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def measures(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of an agent's metrics so far."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_step(folder: Path) -> int:
    """The step of the last whole line of an agent's metrics."""
    lines = measures(folder)
    return int(lines[-1]["step"]) if lines else 0
