"""What `agent dashboard` takes of a processor while it follows a swarm, with its page open.

The agents are real gossip cores, each with a network thread and sockets of its own, all in one other process; in place
of training each has a vector that is sketched once a second, and exchanged. The page is read as a browser reads it.

    python benchmarks/dashboard.py --agents 64
"""

import multiprocessing
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from multiprocessing.connection import Connection

import numpy as np
from command import parser_of, show

from agents.manifest import Manifest
from agents.mixing.codecs import FLOAT32
from agents.mixing.replica import Replica
from agents.mixing.sketch import pack, plan_of, sketch_of
from agents.network import Network
from agents.protocol.core import GossipCore
from agents.protocol.events import Sketched
from agents.protocol.settings import CoreSettings
from agents.vectors import ReplicaVectors
from transport.link import Link
from transport.messages import Identity, Liveness, Member, Report

PARAMETERS = 10_000
WARM_S = 10.0
MEET_S = 120.0
STEPS_S = 100
"""Local steps that each agent claims to take in a second."""


def agents(count: int, pipe: Connection) -> None:
    """Run so many agents until the pipe says so; their first address goes into it once all have met."""
    shared = {"topology": "ring", "alpha": 0.5, "seed": 0, "task": "made-up"}
    networks: list[Network] = []
    replicas: list[Replica] = []
    random = np.random.default_rng(0)
    with ExitStack() as stack:
        for index in range(count):
            link = Link("tcp://127.0.0.1:0")
            join = (networks[0].view().me.address,) if networks else ()
            replica = Replica(random.normal(size=PARAMETERS).astype(np.float32))
            settings = CoreSettings(
                "made-up", "ring", 0, 0.5, PARAMETERS, replica.chunks, join=join, manifest=Manifest(shared)
            )
            report = Report(shard=f"{index}/{count}", steps=100_000)
            me = Member(Identity(f"agent-{index:02}", 1, link.address), Liveness(state="training"), report)
            core = GossipCore(settings, me)
            networks.append(Network(core, ReplicaVectors(replica, FLOAT32, core.exchanges.is_open), link))
            replicas.append(replica)
            networks[-1].start()
            stack.callback(networks[-1].stop)
        for network in networks:
            network.wait_until(lambda view: len(view.others) == count - 1, MEET_S)
        pipe.send(networks[0].view().me.address)
        plan, second = plan_of(0, PARAMETERS), 0
        while not pipe.poll(1.0):
            second += 1
            for network, replica in zip(networks, replicas, strict=True):
                sketch = pack(sketch_of(plan, [(0, replica.snapshot())]))
                network.handle(Sketched(second * STEPS_S, False, sketch))
                network.progress = {"step": second * STEPS_S, "loss": 1.0 / second}
                network.ask(second)


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
