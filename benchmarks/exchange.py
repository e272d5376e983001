"""Two agents' exchange with mixing, against the floor: a full-duplex swap of the same bytes over raw TCP.

Two processes on loopback, the two measures interleaved, medians. peak_mb: of the agent that answers, over what its
process needs without a model; model_mb: its vector. With --curve both are encrypted, and the floor is a bare pair of
ZeroMQ's sockets under CURVE: a DEALER sends the vector in pieces of a megabyte, a ROUTER sends as many back.

    python benchmarks/exchange.py --megabytes 100 --json
    python benchmarks/exchange.py --megabytes 100 --curve
    python benchmarks/exchange.py --megabytes 100 --codec lattice:8
"""

import multiprocessing
import resource
import socket
import statistics
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
import zmq
from command import parameters_of, show, vector_parser

from agents.mixing.codecs import named
from agents.mixing.replica import Replica
from agents.network import Network
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.vectors import ReplicaVectors
from transport.credentials import Credentials
from transport.keys import Key
from transport.link import Link
from transport.messages import Identity, Liveness, Member

PIECE_BYTES = 1 << 20
SECRET = Credentials(Key(bytes(32)), shared=True)


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = vector_parser(__doc__, repeats=15)
    parser.add_argument("--curve", action="store_true", help="encrypt, against a bare pair of sockets under CURVE")
    parser.add_argument("--codec", default="float32", help="of the exchange; the floor's bytes are those of float32")
    options = parser.parse_args()
    floor = "bare CURVE sockets {bare_curve_ms:.1f}" if options.curve else "raw TCP {raw_tcp_ms:.1f}"
    line = floor + " ms, exchange {exchange_ms:.1f} ms: {ratio:.2f} times"
    result = measure(parameters_of(options), options.repeats, options.curve, options.codec)
    show(result, options.json, line)


def measure(parameters: int, repeats: int, curve: bool = False, codec: str = "float32") -> dict[str, float]:
    """Medians of `repeats` swaps and exchanges of a vector of so many float32."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    peer = context.Process(target=answer, args=(theirs, parameters, curve, codec), daemon=True)
    peer.start()
    address, port, idle_mb = ours.recv()
    swap = (Dealer if curve else Caller)(port)
    agent = make_agent("a", parameters, (address,), 0, SECRET if curve else None, codec)
    if not agent.wait_until(lambda view: bool(view.others), 30):
        raise TimeoutError("the two agents did not meet within 30 s")
    buffers = np.zeros(parameters, np.float32), np.zeros(parameters, np.float32)
    floor_s, exchange_s = [], []
    for repeat in range(1, repeats + 3):
        ours.send("swap")
        began = time.perf_counter()
        swap(*buffers)
        floor_s.append(time.perf_counter() - began)
        time.sleep(0.02)
        began = time.perf_counter()
        agent.ask(repeat)
        agent.wait(repeat)
        exchange_s.append(time.perf_counter() - began)
    exchanged = agent.view().me.report.exchanges
    agent.stop()
    if exchanged < repeats:
        raise RuntimeError(f"expected {repeats} exchanges at least, {exchanged} took place: nothing was measured")
    ours.send("stop")
    peak_mb = ours.recv()
    peer.join()
    floor_ms, exchange_ms = (1e3 * statistics.median(times[2:]) for times in (floor_s, exchange_s))
    return {
        "bare_curve_ms" if curve else "raw_tcp_ms": round(floor_ms, 3),
        "exchange_ms": round(exchange_ms, 3),
        "ratio": round(exchange_ms / floor_ms, 3),
        "exchanges": exchanged,
        "model_mb": round(4e-6 * parameters, 3),
        "peak_mb": round(peak_mb - idle_mb, 1),
    }


def make_agent(
    name: str,
    parameters: int,
    join: tuple[str, ...],
    seed: int,
    credentials: Credentials | None = None,
    codec: str = "float32",
) -> Network:
    """An agent without a learner: a random vector, a core and a link, listening."""
    theta = np.random.default_rng(seed).standard_normal(parameters, np.float32)
    replica = Replica(theta)
    settings = CoreSettings("benchmark", "ring", 0, 0.5, parameters, replica.chunks, codec=codec, join=join)
    link = Link("tcp://127.0.0.1:0", credentials=credentials)
    core = GossipCore(settings, Member(Identity(name, 1, link.address), Liveness(state="training")))
    network = Network(core, ReplicaVectors(replica, named(codec), core.exchanges.is_open), link)
    network.start()
    return network


def answer(pipe: Connection, parameters: int, curve: bool, codec: str) -> None:
    """The other process: an agent that answers, and the other end of the floor's connection."""
    swap = Router() if curve else Called()
    idle_mb = peak_mb()
    agent = make_agent("b", parameters, (), 1, SECRET if curve else None, codec)
    pipe.send((agent.view().me.address, swap.port, idle_mb))
    buffers: tuple[np.ndarray, np.ndarray] | None = None
    while pipe.recv() == "swap":
        if buffers is None:
            buffers = np.zeros(parameters, np.float32), np.zeros(parameters, np.float32)
        swap(*buffers)
    agent.stop()
    pipe.send(peak_mb() - (2 * 4e-6 * parameters if buffers is not None else 0))


class Caller:
    """One end of a raw connection: called with two vectors, it sends the one and receives the other."""

    def __init__(self, port: int) -> None:
        self._raw = socket.create_connection(("127.0.0.1", port))

    def __call__(self, send: np.ndarray, receive: np.ndarray) -> None:
        """A swap."""
        sender = threading.Thread(target=self._raw.sendall, args=(send.data.cast("B"),))
        sender.start()
        view, got = receive.data.cast("B"), 0
        while got < len(view):
            got += self._raw.recv_into(view[got:])
        sender.join()


class Called(Caller):
    """The other end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __call__(self, send: np.ndarray, receive: np.ndarray) -> None:
        """A swap."""
        if not hasattr(self, "_raw"):
            self._raw, _ = self._listener.accept()
        super().__call__(send, receive)


class Dealer:
    """The end of a bare pair of sockets under CURVE that begins: pieces of a megabyte there, as many back."""

    def __init__(self, port: int) -> None:
        self._socket = zmq.Context().socket(zmq.DEALER)
        self._socket.curve_serverkey = self._socket.curve_publickey = SECRET.key.curve_public
        self._socket.curve_secretkey = SECRET.key.curve_secret
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def __call__(self, send: np.ndarray, receive: np.ndarray) -> None:
        """A swap."""
        view = send.data.cast("B")
        pieces = [view[at : at + PIECE_BYTES] for at in range(0, len(view), PIECE_BYTES)]
        for piece in pieces:
            self._socket.send(piece, copy=False)
        for _ in pieces:
            self._socket.recv(copy=False)


class Router:
    """The end that answers."""

    def __init__(self) -> None:
        self._socket = zmq.Context().socket(zmq.ROUTER)
        self._socket.curve_server = True
        self._socket.curve_secretkey = SECRET.key.curve_secret
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")

    def __call__(self, send: np.ndarray, receive: np.ndarray) -> None:
        """A swap."""
        view = send.data.cast("B")
        for at in range(0, len(view), PIECE_BYTES):
            route, _ = self._socket.recv_multipart(copy=False)
            self._socket.send_multipart([route.bytes, view[at : at + PIECE_BYTES]], copy=False)


def peak_mb() -> float:
    """The most memory this process ever had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
