"""Fuzzing: whatever bytes come in on a connection, nothing but the wire's own refusal is raised, and memory stays flat.

    python -m tests.chaos.fuzz --frames 1000000            guided by coverage, with atheris
    python -m tests.chaos.fuzz --frames 1000000 --random   from a seeded generator, anywhere

One core in the middle of a swarm takes every frame: bytes go through `transport.wire.decode` into `core.step`, and the
effects are carried out on a real replica. Half of the inputs are frames as they are; of the others a well-formed
message is made, so that what lies behind the wire's checks is reached too.
"""

import argparse
import os
import random
import sys
import time
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from tests.chaos import table

CHUNK, PARAMETERS = 3, 7
STEP_S = 0.01
"""Between two frames, on the core's clock."""

MOST_MB = 20.0
"""What memory may grow by, from a tenth of all frames on: tables are full by then."""


def _modules() -> None:
    """Import what is fuzzed: under atheris, with its instrumentation."""
    global layout, ReplicaVectors, Replica, FLOAT32, GossipCore, Driver, ev, CoreSettings, messages, view, wire
    import agents.mixing.layout as layout
    import agents.view as view
    from agents.mixing.codecs import FLOAT32
    from agents.mixing.replica import Replica
    from agents.protocol import events as ev
    from agents.protocol.core import GossipCore
    from agents.protocol.driver import Driver
    from agents.protocol.settings import CoreSettings
    from agents.vectors import ReplicaVectors
    from transport import messages, wire


class Bytes:
    """Reads numbers and choices off an input; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at].ljust(count, b"\0")

    def rest(self) -> bytes:
        return self._data[self._at :]

    def choice(self, options: Any) -> Any:
        return options[self.byte() % len(options)]


NAMES = ("me", "a", "b", "c", "", "joiner", "tcp://a.example:5710", "run", "theta", "float32", "training", "settling",
         "left", "joining", "tcp://me.example:5710", "digest/0")  # fmt: skip
NUMBERS = (0, 1, 2, 3, 7, 8, -1, 100, 1 << 20, 1 << 32, (1 << 32) + 1, 1 << 62, (1 << 63) - 1)
REALS = (0.0, 1.0, 0.5, -1.0, 1e-9, 1e300, 1e308, 100.0, 2.5)
CONNECTIONS = ("route:0a", "route:0b", "route:0c", "route:0d", "tcp://a.example:5710", "tcp://d.example:5710")


def message_of(data: Bytes) -> Any:
    """A well-formed message, its kind and its values chosen by the input."""
    return _built(data.choice(messages.MESSAGES), data)


def _built(kind: type, data: Bytes) -> Any:
    hints = get_type_hints(kind)
    return kind(**{f.name: _value(hints[f.name], f.name, data) for f in fields(kind)})


def _value(hint: Any, name: str, data: Bytes) -> Any:
    hint = getattr(hint, "__supertype__", hint)
    if name == "payload":
        return data.take(data.choice((0, 4, 12, 12, 13)))
    if name == "manifest":
        return data.choice((CoreSettings("run", "ring", 0, 0.5, 1, 1).manifest.hash, "another"))
    if name == "version":
        return data.choice((messages.VERSION, messages.VERSION, 0))
    if hint is int:
        return data.choice(NUMBERS) if data.byte() % 4 else int.from_bytes(data.take(8)) >> 1
    if hint is float:
        return data.choice(REALS)
    if hint is bool:
        return bool(data.byte() % 2)
    if hint is str:
        return data.choice(NAMES) if data.byte() % 8 else data.take(6).decode("latin-1")
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], "", data) for _ in range(data.byte() % 4))
    if get_origin(hint) is dict:
        return {data.choice(NAMES): data.choice(REALS) for _ in range(data.byte() % 3)}
    return _built(hint, data)


class Target:
    """A core that has peers, exchanges and a vector, and takes one input after the other."""

    def __init__(self) -> None:
        import numpy as np

        layout.CHUNK = CHUNK
        self.frames = self.refused = 0
        self._now = 0.0
        settings = CoreSettings("run", "complete", 0, 0.5, PARAMETERS, 3, join=("tcp://a.example:5710",))
        me = messages.Identity("me", 1, "tcp://me.example:5710")
        self.core = GossipCore(settings, messages.Member(me, messages.Liveness(state="training"), messages.Report()))
        self.replica = Replica(np.zeros(PARAMETERS, np.float32))
        vectors = ReplicaVectors(self.replica, FLOAT32, self.core.exchanges.is_open)
        self.driver = Driver(self.core, _Nowhere(), vectors, lambda: self._now, lambda signal: None)
        self.driver.handle(ev.Tick())
        for name, connection in (("a", "route:0a"), ("b", "route:0b"), ("", "route:0c")):
            hello = messages.Hello(messages.VERSION, name, 1, "run", settings.manifest.hash, credit=8)
            self._receive(connection, wire.encode(hello))

    def feed(self, data: bytes) -> None:
        """One input: a connection, and frames as they are or a message."""
        source = Bytes(data)
        head = source.byte()
        connection = CONNECTIONS[head % len(CONNECTIONS)]
        if head & 0x80:
            length = source.byte()
            frames = [source.take(length), source.rest()][: 1 + (head >> 6 & 1)]
        else:
            frames = [bytes(frame) for frame in wire.encode(message_of(source))]
        self._receive(connection, frames)
        if self.frames % 16 == 0:
            self.driver.handle(ev.Tick())
            self._look()
        if self.frames % 64 == 0:
            self.driver.handle(ev.Due(self.frames // 64))

    def _look(self) -> None:
        """What an agent's other thread asks of the core."""
        step = self.core.members.me.report.step + 1
        self.core.publish(step=step)
        self.core.pace.own(step, self._now)
        self.core.pace.ahead(self._now)
        view.view_of(self.core, self._now)
        if not 0 <= self.core.members.share <= 1:
            raise ValueError(f"our share of all weights is {self.core.members.share}")

    def _receive(self, connection: str, frames: list[bytes]) -> None:
        self.frames += 1
        self._now += STEP_S
        try:
            message = wire.decode(frames)
        except wire.WireError:
            self.refused += 1
            return
        self.driver.handle(ev.Received(connection, message))


class _Nowhere:
    """A `driver.Link` that sends nothing, but encodes it: what the core sends can be sent."""

    def dial(self, address: str) -> None:
        """Nobody is there."""

    def hang_up(self, connection: str) -> None:
        """Nothing was opened."""

    def send(self, connection: str, message: Any, payload: Any = None) -> bool:
        """Gone."""
        wire.encode(message, payload)
        return True


class Measured:
    """Feeds a target so many inputs, and measures. write: into docs/reliability.md as well."""

    def __init__(self, target: Target, frames: int, write: bool = False) -> None:
        self._target, self._frames, self._most_mb, self._write = target, frames, MOST_MB, write
        self._began_s, self._from_mb, self._taken = time.monotonic(), 0.0, 0

    def feed(self, data: bytes) -> None:
        """One input. Raises MemoryError at the last one if memory grew by too much."""
        self._target.feed(data)
        self._taken += 1
        if self._taken == self._frames // 10:
            self._from_mb = resident_mb()
        if self._taken == self._frames:
            grown_mb, took_s = resident_mb() - self._from_mb, time.monotonic() - self._began_s
            passed = 1 - self._target.refused / self._frames
            print(
                f"{self._frames} frames in {took_s:.0f} s, {passed:.0%} of them messages, no exception; memory grew by "
                f"{grown_mb:.1f} MB over the last nine tenths",
                flush=True,
            )
            if self._write:
                what = f"{self._frames} fuzzed frames through the wire into the core"
                found = f"no exception; memory grew by {grown_mb:.1f} MB"
                table.write("fuzz", what, found, f"{self._most_mb:.0f} MB", grown_mb <= self._most_mb)
            if grown_mb > self._most_mb:
                raise MemoryError(f"memory grew by {grown_mb:.1f} MB, more than {self._most_mb:.0f}")


def resident_mb() -> float:
    """Memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Fuzz for so many frames; an exception ends it with the input that raised it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--random", action="store_true", help="seeded inputs in place of atheris")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md")
    options = parser.parse_args()
    if options.random:
        return _random(options.frames, options.seed, options.write)
    try:
        import atheris
    except ImportError:
        sys.exit(
            "fuzzing guided by coverage needs atheris: pip install 'gossamer[fuzz]' (Linux, macOS), "
            "or python -m tests.chaos.fuzz --random"
        )
    with atheris.instrument_imports(include=["transport", "agents.protocol", "agents.mixing", "agents.vectors"]):
        _modules()
    measured = Measured(Target(), options.frames, options.write)
    atheris.Setup(
        [sys.argv[0], f"-runs={options.frames}", "-max_len=256", f"-seed={options.seed + 1}", "-verbosity=0"],
        measured.feed,
    )
    atheris.Fuzz()


def _random(frames: int, seed: int, write: bool) -> None:
    _modules()
    draw = random.Random(seed)
    measured = Measured(Target(), frames, write)
    for _ in range(frames):
        measured.feed(draw.randbytes(draw.choice((4, 16, 64, 200))))


if __name__ == "__main__":
    main()
else:
    _modules()
