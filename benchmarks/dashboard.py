"""What `agent dashboard` takes of a processor while it follows a swarm, with its page open.

The agents are sockets of one other process, each with a connection of its own, that answer as real ones do: with
records, a kilobyte of sketch, and with whom they exchanged. The page is read as a browser reads it.

    python benchmarks/dashboard.py --agents 64
"""

import multiprocessing
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np
from command import parser_of, show

from agents.mixing.sketch import BUCKETS, pack
from transport.link import Link
from transport.messages import (
    VERSION,
    AgentId,
    Gossip,
    Hello,
    Identity,
    Links,
    Liveness,
    Look,
    Member,
    Message,
    Report,
    Sketch,
    Welcome,
)

SETTINGS = {"topology": "ring", "alpha": 0.5, "seed": 0, "task": "made-up"}
WARM_S = 10.0
RECORDS = 12
"""In a message about members: some two kilobytes, as agents send."""

STEPS_S = 100
"""Local steps that each agent claims to take in a second."""


class Agents:
    """So many that answer whoever watches, each on its own address."""

    def __init__(self, count: int) -> None:
        self.links = [Link("tcp://127.0.0.1:0") for _ in range(count)]
        self.names = [AgentId(f"agent-{index:02}") for index in range(count)]
        self._random = np.random.default_rng(0)
        self._models = self._random.normal(size=(count, BUCKETS)).astype(np.float32)
        self._began_s = time.monotonic()

    def answer(self, pipe: Connection) -> None:
        """Whatever comes, until something comes from the pipe."""
        while not pipe.poll(0.002):
            for index, link in enumerate(self.links):
                for connection, message in link.poll(0):
                    for answer in self._answers(index, message):
                        link.send(connection, answer)
        for link in self.links:
            link.close()

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _answers(self, index: int, message: Message) -> Iterator[Message]:
        name, count = self.names[index], len(self.names)
        match message:
            case Hello():
                yield Welcome(VERSION, name, 1, "made-up", "", SETTINGS, {}, 10_000, 8)
            case Gossip(reply=True):
                others = self._random.choice(count, min(count, RECORDS), replace=False).tolist()
                yield Gossip(tuple(self._member(each) for each in {index, *others}))
            case Look():
                step = int(self._passed_s) * STEPS_S
                values = self._models[index] * np.float32(0.99 ** (step / STEPS_S))
                yield Sketch(name, 1, step, payload=pack(values))
                ages = {self.names[(index + side) % count]: float(self._random.exponential()) for side in (-1, 1)}
                counts = {"started": step // 10, "answered": step // 10, "declined": 0, "failed": 0, "steps_s": 100.0}
                yield Links(ages, dict.fromkeys(ages, 2.0), counts | {"waited": 0.1})

    def _member(self, index: int) -> Member:
        step = int(self._passed_s * STEPS_S)
        report = Report(f"{index}/{len(self.names)}", 1.0, step, 100_000, 1 / (1 + step), step // 5, step * 40_000)
        identity = Identity(self.names[index], 1, self.links[index].address)
        return Member(identity, Liveness(int(self._passed_s * 10), "training"), report)


def agents(count: int, pipe: Connection) -> None:
    """Run so many agents until the pipe says so; their first address goes into it."""
    made = Agents(count)
    pipe.send(made.links[0].address)
    made.answer(pipe)


def read(url: str, seconds: float) -> tuple[int, int]:
    """Follow the page's events for so long: how many came, and their bytes."""
    end_s, looks, size = time.monotonic() + seconds, 0, 0
    with urllib.request.urlopen(f"{url}/events", timeout=30) as events:
        while time.monotonic() < end_s:
            line = events.readline()
            looks, size = looks + line.startswith(b"data:"), size + len(line)
    return looks, size


def processor_s(pid: int) -> float:
    """What a process has taken of processors so far."""
    with open(f"/proc/{pid}/stat") as file:
        taken = file.read().rpartition(")")[2].split()
    return (int(taken[11]) + int(taken[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print a line or one JSON object."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    swarm = multiprocessing.get_context("spawn").Process(target=agents, args=(options.agents, theirs))
    swarm.start()
    address = ours.recv()
    command = [sys.executable, "-m", "agents.command.cli", "dashboard", "--join", address, "--listen", "127.0.0.1:0"]
    dashboard = subprocess.Popen([*command, "--timeout", "60"], stderr=subprocess.PIPE, text=True)
    try:
        url = re.findall(r"http://\S+", dashboard.stderr.readline())[0]  # type: ignore[union-attr]
        read(url, WARM_S)
        before_s, began_s = processor_s(dashboard.pid), time.monotonic()
        looks, size = read(url, options.seconds)
        took_s, passed_s = processor_s(dashboard.pid) - before_s, time.monotonic() - began_s
    finally:
        dashboard.kill()
        ours.send("over")
        swarm.join()
    result = {
        "agents": options.agents,
        "core_share": round(took_s / passed_s, 4),
        "looks_s": round(looks / passed_s, 2),
        "kB_s": round(size / passed_s / 1e3, 1),
        "ms_a_look": round(1e3 * took_s / max(1, looks), 1),
    }
    show(
        result,
        options.json,
        "The dashboard of {agents} agents takes {core_share:.1%} of a core at {looks_s} looks a second, "
        "{ms_a_look} ms each; an open page is sent {kB_s} kB a second.",
    )


if __name__ == "__main__":
    main()
