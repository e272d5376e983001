"""A TCP proxy whose network goes wrong as a test wants it, while it runs: standard library alone.

with Proxy(server_address) as proxy:
    ...                                    # clients connect to proxy.address
    proxy.up.delay_s = 0.05                # up: from who connects to the server; down: back
    proxy.down.bytes_per_s = 10_000
    proxy.cut()                            # a partition: nothing arrives any longer, neither side is told
    proxy.heal()                           # what was sent meanwhile arrives, as TCP sends it again
    proxy.up.truncate(after=100)           # the stream ends after 100 more bytes
    proxy.up.corrupt(after=100)            # the byte after 100 more is another one
    proxy.reset()                          # every open connection ends by RST
"""

import asyncio
import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

READ_BYTES = 1 << 16

QUEUED = 256
"""How many reads wait in one direction of one connection, at most."""

PIECE_S = 0.05
"""A throttled direction sends as much at once as it may in this time."""

LOOK_S = 0.01
"""While a direction is cut: how often it is looked whether it still is."""

Endpoint = tuple[str, int]


@dataclass
class Direction:
    """What befalls the bytes that go in one direction. May be changed at any time, from any thread.

    delay_s: of every byte; order is kept. bytes_per_s: of each connection. is_cut: bytes wait until it isn't; TCP loses
    none in a partition either. passed: bytes that arrived, of all connections.
    """

    delay_s: float = 0.0
    bytes_per_s: float = math.inf
    is_cut: bool = False
    passed: int = 0
    _truncate_at: float = math.inf
    _corrupt_at: float = math.inf

    def truncate(self, after: int = 0) -> None:
        """End the connection that carries the byte after so many more, before this byte; once."""
        self._truncate_at = self.passed + after

    def corrupt(self, after: int = 0) -> None:
        """Flip every bit of the byte after so many more; once."""
        self._corrupt_at = self.passed + after

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """What arrives in place of these bytes, and whether the stream ends there."""
        start, end = self.passed, self.passed + len(data)
        if start <= self._corrupt_at < end:
            at = int(self._corrupt_at) - start
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            self._corrupt_at = math.inf
        ends = self._truncate_at < end
        if ends:
            data = data[: max(0, int(self._truncate_at) - start)]
            self._truncate_at = math.inf
        self.passed += len(data)
        return data, ends


class Proxy:
    """Listens on a free port of 127.0.0.1 and connects whoever comes to `target`, which may be set later.

    directions: (up, down) of a connection by the address that it comes from, to tell apart those of one proxy; by
    default all share `up` and `down`.
    """

    def __init__(
        self,
        target: Endpoint | None = None,
        directions: Callable[[Endpoint], tuple[Direction, Direction]] | None = None,
    ) -> None:
        self.target, self.up, self.down = target, Direction(), Direction()
        self._directions = directions or (lambda client: (self.up, self.down))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Endpoint = self._listener.getsockname()
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address as agents write it."""
        return f"tcp://{self.address[0]}:{self.address[1]}"

    def cut(self) -> None:
        """Both ways."""
        self.up.is_cut = self.down.is_cut = True

    def heal(self) -> None:
        """Neither way is cut, delayed or throttled."""
        for direction in (self.up, self.down):
            direction.is_cut, direction.delay_s, direction.bytes_per_s = False, 0.0, math.inf

    def reset(self) -> None:
        """End every open connection by RST, both ways; returns when it is done."""
        asyncio.run_coroutine_threadsafe(self._reset_all(), self._loop).result()

    def close(self) -> None:
        """End every connection and stop to listen."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the loop's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._listener))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.target is None:
                return
            up, down = self._directions(writer.get_extra_info("peername")[:2])
            try:
                far_reader, far_writer = await asyncio.open_connection(*self.target)
            except OSError:
                _abort(writer)
                return
            self._writers |= {writer, far_writer}
            both = [
                asyncio.create_task(_carry(reader, far_writer, up)),
                asyncio.create_task(_carry(far_reader, writer, down)),
            ]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
                if any(isinstance(task.exception(), OSError) for task in done):  # One end was reset: so is the other.
                    _abort(writer)
                    _abort(far_writer)
            finally:
                for task in both:
                    task.cancel()
                self._writers -= {writer, far_writer}
                far_writer.close()
        finally:
            writer.close()

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _abort(writer)


class _Ends(Exception):
    """A stream was truncated: both ends are closed."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
    """Bytes from here to there, until the stream ends. Raises OSError where either end was reset."""
    queue: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(QUEUED)

    async def read() -> None:
        data: bytes | OSError = b"?"
        while data and not isinstance(data, OSError):
            try:
                data = await reader.read(READ_BYTES)
            except OSError as error:
                data = error
            await queue.put((time.monotonic(), data))

    reading = asyncio.create_task(read())
    try:
        while True:
            came_s, data = await queue.get()
            await asyncio.sleep(max(0.0, came_s + direction.delay_s - time.monotonic()))
            await _until_healed(direction)
            if isinstance(data, OSError):
                raise data
            if not data:
                writer.write_eof()
                return
            await _write(writer, data, direction)
    finally:
        reading.cancel()


async def _write(writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
    """These bytes, no faster than they may go. Raises _Ends where the stream ends by them."""
    while data:
        count = len(data) if math.isinf(direction.bytes_per_s) else max(1, int(direction.bytes_per_s * PIECE_S))
        piece, data = data[:count], data[count:]
        await _until_healed(direction)
        arriving, ends = direction.take(piece)
        writer.write(arriving)
        await writer.drain()
        if ends:
            raise _Ends
        await asyncio.sleep(len(piece) / direction.bytes_per_s)


async def _until_healed(direction: Direction) -> None:
    while direction.is_cut:
        await asyncio.sleep(LOOK_S)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close by RST: so told, the kernel sends nothing else."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # It may be closed already.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
