"""Two agents' exchange with mixing, against the floor: a full-duplex swap of the same bytes over raw TCP.

Two processes on loopback, the two measures interleaved, medians. peak_mb: of the agent that answers, over what its
process needs without a model; model_mb: its vector.

    python benchmarks/exchange.py --megabytes 100 --json
"""

import multiprocessing
import resource
import socket
import statistics
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
from command import show, vector_options

from agents.mixing.codecs import FLOAT32
from agents.mixing.replica import Replica
from agents.network import Network
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.vectors import ReplicaVectors
from transport.link import Link
from transport.messages import Identity, Liveness, Member


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parameters, repeats, as_json = vector_options(__doc__, repeats=15)
    line = "raw TCP {raw_tcp_ms:.1f} ms, exchange {exchange_ms:.1f} ms: {ratio:.2f} times"
    show(measure(parameters, repeats), as_json, line)


def measure(parameters: int, repeats: int) -> dict[str, float]:
    """Medians of `repeats` swaps and exchanges of a vector of so many float32."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    peer = context.Process(target=answer, args=(theirs, parameters), daemon=True)
    peer.start()
    address, port, idle_mb = ours.recv()
    raw = socket.create_connection(("127.0.0.1", port))
    agent = make_agent("a", parameters, (address,), seed=0)
    if not agent.wait_until(lambda view: bool(view.others), 30):
        raise TimeoutError("the two agents did not meet within 30 s")
    buffers = np.zeros(parameters, np.float32), np.zeros(parameters, np.float32)
    raw_s, exchange_s = [], []
    for repeat in range(1, repeats + 3):
        ours.send("swap")
        began = time.perf_counter()
        swap(raw, *buffers)
        raw_s.append(time.perf_counter() - began)
        time.sleep(0.02)
        began = time.perf_counter()
        agent.ask(repeat)
        agent.wait(repeat)
        exchange_s.append(time.perf_counter() - began)
    exchanged = agent.view().me.report.exchanges
    agent.stop()
    ours.send("stop")
    peak_mb = ours.recv()
    peer.join()
    raw_ms, exchange_ms = (1e3 * statistics.median(times[2:]) for times in (raw_s, exchange_s))
    return {
        "raw_tcp_ms": round(raw_ms, 3),
        "exchange_ms": round(exchange_ms, 3),
        "ratio": round(exchange_ms / raw_ms, 3),
        "exchanges": exchanged,
        "model_mb": round(4e-6 * parameters, 3),
        "peak_mb": round(peak_mb - idle_mb, 1),
    }


def make_agent(name: str, parameters: int, join: tuple[str, ...], seed: int) -> Network:
    """An agent without a learner: a random vector, a core and a link, listening."""
    theta = np.random.default_rng(seed).standard_normal(parameters, np.float32)
    replica = Replica(theta)
    settings = CoreSettings("benchmark", "ring", 0, 0.5, parameters, replica.chunks, join=join)
    link = Link("tcp://127.0.0.1:0")
    core = GossipCore(settings, Member(Identity(name, 1, link.address), Liveness(state="training")))
    network = Network(core, ReplicaVectors(replica, FLOAT32, core.exchanges.is_open), link)
    network.start()
    return network


def answer(pipe: Connection, parameters: int) -> None:
    """The other process: an agent that answers, and the other end of the raw connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    idle_mb = peak_mb()
    agent = make_agent("b", parameters, (), seed=1)
    pipe.send((agent.view().me.address, listener.getsockname()[1], idle_mb))
    raw, _ = listener.accept()
    buffers: tuple[np.ndarray, np.ndarray] | None = None
    while pipe.recv() == "swap":
        if buffers is None:
            buffers = np.zeros(parameters, np.float32), np.zeros(parameters, np.float32)
        swap(raw, *buffers)
    agent.stop()
    pipe.send(peak_mb() - (2 * 4e-6 * parameters if buffers is not None else 0))


def swap(raw: socket.socket, send: np.ndarray, receive: np.ndarray) -> None:
    """Send one vector while receiving another of the same size."""
    sender = threading.Thread(target=raw.sendall, args=(send.data.cast("B"),))
    sender.start()
    view, got = receive.data.cast("B"), 0
    while got < len(view):
        got += raw.recv_into(view[got:])
    sender.join()


def peak_mb() -> float:
    """The most memory this process ever had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
