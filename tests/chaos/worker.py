"""One member of a swarm as a process of its own, for chaos that the kernel makes: signals, load, a cut network.

    python -m tests.chaos.worker FOLDER NAME --listen tcp://127.0.0.1:5710 --join tcp://127.0.0.1:5711

It trains four numbers toward a point of its own, so that agents disagree by as much as exchanges let them. Its folder
holds the number of its start, what it saved each second, and `seen.jsonl`: ten times a second the time of the machine's
monotonic clock, who is alive in its eyes, how far it is and its vector. The same command again resumes. It has trained
when there is a file `enough` beside its folder.
"""

import argparse
import contextlib
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np

from agents.peer import Peer

OPEN: dict = {"insecure": True} if "insecure" in inspect.signature(Peer).parameters else {}
"""Hosts of the tests have addresses of their own, and no keys."""

ENOUGH = "enough"
LOOK_S, SAVE_S = 0.1, 1.0
PULL = 0.05
"""Of the way to its own point an agent goes in a step."""


def main() -> None:
    """Train, be seen, finish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--listen", default="tcp://127.0.0.1:0")
    parser.add_argument("--join", nargs="*", default=[])
    parser.add_argument("--step-s", type=float, default=0.02)
    parser.add_argument("--silent-s", type=float, default=5.0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    number = _started(given.folder)
    theta, step = _saved(given.folder)
    point = np.random.default_rng(list(given.name.encode())).normal(size=4).astype(np.float32)
    with open(given.folder / "seen.jsonl", "a") as seen:
        peer = Peer(
            {"w": theta}, task="chaos", listen=given.listen, join=given.join, name=given.name, run="chaos",
            incarnation=number, topology="complete", silent_s=given.silent_s, **OPEN,
        )  # fmt: skip
        with peer:
            params = peer.meet({"w": theta}, resumed=step > 0)
            looked_s = saved_s = 0.0
            while not (given.folder.parent / ENOUGH).exists():
                time.sleep(given.step_s)
                params = peer.boundary({"w": params["w"] + PULL * (point - params["w"])})
                step += 1
                now = time.monotonic()
                if now - looked_s >= LOOK_S:
                    looked_s = now
                    _write(seen, now, peer, step, params["w"])
                if now - saved_s >= SAVE_S:
                    saved_s = now
                    _save(given.folder, params["w"], step)
            _write(seen, time.monotonic(), peer, step, params["w"])
            params = peer.finish(params)
            _write(seen, time.monotonic(), peer, step, params["w"], finished=True)


def _write(file, now: float, peer: Peer, step: int, theta: np.ndarray, finished: bool = False) -> None:
    alive = [member.agent for member in peer.members]
    line = {"t": now, "alive": alive, "step": step, "w": [float(x) for x in theta], "finished": finished}
    file.write(json.dumps(line) + "\n")
    file.flush()


def _started(folder: Path) -> int:
    """The number of this start."""
    file, number = folder / "starts", 0
    with contextlib.suppress(FileNotFoundError):
        number = int(file.read_text())
    _replace(file, str(number + 1).encode())
    return number + 1


def _saved(folder: Path) -> tuple[np.ndarray, int]:
    try:
        saved = json.loads((folder / "saved.json").read_text())
    except FileNotFoundError:
        return np.zeros(4, np.float32), 0
    return np.array(saved["w"], np.float32), saved["step"]


def _save(folder: Path, theta: np.ndarray, step: int) -> None:
    _replace(folder / "saved.json", json.dumps({"w": [float(x) for x in theta], "step": step}).encode())


def _replace(file: Path, data: bytes) -> None:
    beside = file.with_suffix(".new")
    beside.write_bytes(data)
    os.replace(beside, file)


if __name__ == "__main__":
    main()
