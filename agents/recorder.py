"""The flight recorder: everything that an agent does to its vectors, in the order in which it does it, in one file.

    train      local steps, from `number` on, `chunk` of them
    publish    the boundary of one chunk: what came in joins theta, and theta is published
    offer      a chunk is read, to be offered in exchange `number`; rate: which of the agent's codecs
    answer     a peer's offer is applied, by -rate; apply: the answer to ours is, by rate
    serve      a chunk is read for a peer's pull `number`; keep: a chunk of such a vector is here; adopt: it is ours,
               of subnetwork `chunk` - 1 if we went to another one
    ended      training is over: of what comes in from here on the learning rule doesn't learn
    final      the last local step was taken: the learning rule makes of the model what the agent ends with
    save       the checkpoint, the `chunk`-th of its incarnation, is about to be written; drop: it could not be

Vectors are not recorded: they follow from these and from the data, bit for bit (`sim.replay`). Operations on a chunk
are noted while its lock is held, so their order is the true one. The file is a sequence of frames, each complete in
itself: a checksum, lengths, new names as JSON, records. What a crash cut off at the end is ignored. A recording that
ends before its agent does, because it was bounded or couldn't be written, ends with a frame that holds the reason.
"""

import json
import logging
import math
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agents.durable import is_at
from agents.protocol.incarnation import Incarnation
from topology.errors import GossamerError

log = logging.getLogger("gossamer")

FILE = "tape.bin"

TRAIN, PUBLISH, OFFER, ANSWER, APPLY, SERVE, KEEP, ADOPT, SAVE, DROP, ENDED, FINAL = range(1, 13)

RECORD = np.dtype(
    [
        ("op", "u1"),
        ("peer", "<u2"),  # its place among the names; 0 for nobody
        ("chunk", "<u4"),
        ("number", "<i8"),
        ("rate", "<f8"),
    ]
)

MOST_BYTES, MOST_PEERS = 256_000_000, 2**16 - 1
"""Of one file by default; and names in one incarnation, as `peer` is 16 bits wide."""

_FRAME = struct.Struct("<4sIII")  # magic, CRC-32 of all that follows it, bytes of JSON, records
_CHECKED = struct.calcsize("<4sI")  # where that begins
_MAGIC = b"GSM3"


class RecordingError(GossamerError, ValueError):
    """A file is not an agent's recording. One line: what was expected and what came."""

    code = "G406"


class Recorder:
    """Appends to the recording at `path`, behind its last whole frame, once `begin` was called.

    `note` may be called by any thread and only fills memory; `flush` writes. Where it can't write, as on a full disk,
    or the file has reached most_bytes, it warns once and records no more: what it is for is not worth an agent.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._entries: list[tuple[int, Incarnation | None, int, int, float]] = []
        self._peers: dict[Incarnation, int] = {}
        self._facts: dict[str, Any] | None = None
        self._flushing = threading.Lock()
        self._ended, self._marked = "", False
        self._whole = 0
        self._file: Any = None
        try:
            self._file = open(path, "ab")  # noqa: SIM115 - closed by `close`
            self._whole = _whole_frames(path)
            self._file.truncate(self._whole)  # What a crash cut off; a frame behind it could not be found.
        except OSError as error:
            self._end(f"it can't be written ({error})")

    def begin(self, facts: dict[str, Any]) -> None:
        """A new incarnation of the agent. facts: what a replay must know of it, as JSON."""
        self._facts = facts

    def note(
        self, op: int, chunk: int = 0, peer: Incarnation | None = None, number: int = 0, rate: float = 0.0
    ) -> None:
        """One thing has been done."""
        if not self._ended:
            self._entries.append((op, peer, chunk, number, rate))

    def flush(self) -> None:
        """Write what has been noted."""
        with self._flushing:
            count = len(self._entries)
            entries = self._entries[:count]
            del self._entries[:count]  # What is noted meanwhile stays: the list remains the same.
            if not self._ended and (entries or self._facts is not None):
                self._write(entries)

    def stop(self, why: str) -> None:
        """Record no more, and write the reason to the file."""
        with self._flushing:
            if not self._ended:
                self._mark(why)

    def close(self) -> None:
        """Write the rest. What a full disk took of a frame is cut off, so that a later incarnation may append."""
        self.flush()
        if self._file is None:
            return
        is_there = False
        with suppress(OSError):
            is_there = is_at(self._path, self._file.fileno())
        with suppress(OSError):  # What was refused stays in the file's buffer, and is tried once more.
            self._file.close()
        if self._ended and not self._marked and is_there:
            with suppress(OSError):  # There may be room again.
                os.truncate(self._path, self._whole)
                with open(self._path, "ab") as file:
                    file.write(self._frame([], [], ended=self._ended))

    def _write(self, entries: list[Any]) -> None:
        fresh = []
        records = np.empty(len(entries), RECORD)
        for k, (op, peer, *rest) in enumerate(entries):
            if peer is not None and peer not in self._peers:
                self._peers[peer] = len(self._peers) + 1
                fresh.append(list(peer[:2]))
            records[k] = (op, self._peers[peer] % (MOST_PEERS + 1) if peer is not None else 0, *rest)
        if len(self._peers) > MOST_PEERS:
            self._mark(f"it holds at most {MOST_PEERS} names of peers")
            return
        frame = self._frame(fresh, records)
        beyond = self._whole + len(frame) - self._most_bytes
        if beyond > 0:
            frame = self._frame(fresh, records[: max(0, len(records) - math.ceil(beyond / RECORD.itemsize))])
        if self._append(frame) and beyond > 0:
            self._mark(f"it reached its bound of {self._most_bytes / 1e6:g} MB (--record-mb)")

    def _mark(self, why: str) -> None:
        """The last frame of this incarnation."""
        self._marked = self._append(self._frame([], [], ended=why))
        if self._marked:
            self._end(why)

    def _append(self, frame: bytes) -> bool:
        try:
            if not is_at(self._path, self._file.fileno()):
                raise OSError("it was removed or moved away")
            self._file.write(frame)
            self._file.flush()
        except OSError as error:
            self._end(f"it can't be written ({error})")
            return False
        self._facts = None
        self._whole += len(frame)
        return True

    def _frame(self, fresh: list[Any], records: Any, ended: str = "") -> bytes:
        head: dict[str, Any] = {"peers": fresh}
        if self._facts is not None:
            head["incarnation"] = self._facts
        if ended:
            head["ended"] = ended
        text, rows = json.dumps(head).encode(), np.asarray(records, RECORD)
        frame = _FRAME.pack(_MAGIC, 0, len(text), len(rows)) + text + rows.tobytes()
        return struct.pack("<4sI", _MAGIC, crc32(frame[_CHECKED:])) + frame[_CHECKED:]

    def _end(self, why: str) -> None:
        self._ended = why
        self._entries.clear()
        log.warning("%s ends here: %s. What follows can't be replayed; training goes on", self._path, why)


def recorder_of(path: Path, wanted: bool, most_bytes: int, facts: dict[str, Any]) -> Recorder | None:
    """The recorder of a new incarnation, or None if nothing is to be recorded: what an earlier one recorded says so."""
    if not wanted and not path.exists():
        return None
    recorder = Recorder(path, most_bytes)
    recorder.begin(facts)
    if wanted:
        return recorder
    recorder.stop("--no-record")
    recorder.close()
    return None


def _whole_frames(path: Path) -> int:
    """Bytes of the whole frames at the beginning of a recording; all of a file that is none, which is left as it is."""
    size, at = path.stat().st_size, 0
    with open(path, "rb") as file:
        while at + _FRAME.size <= size:
            file.seek(at)
            magic, _, head_bytes, count = _FRAME.unpack(file.read(_FRAME.size))
            if magic != _MAGIC:
                return size
            end = at + _FRAME.size + head_bytes + count * RECORD.itemsize
            if end > size:
                break
            at = end
    return at


class Recording(NamedTuple):
    """What one incarnation of an agent did. facts: as given to the recorder. records (n,): of RECORD.

    peers: who the records' `peer` is, counted from 1. ended: why it ends before the incarnation did, "" if it doesn't.
    """

    facts: dict[str, Any]
    peers: list[Incarnation]
    records: NDArray[Any]
    ended: str = ""


def read_recordings(path: Path) -> list[Recording]:
    """The incarnations of one agent, in order. Raises RecordingError; a frame that was cut off is left out."""
    data = path.read_bytes()
    found: list[tuple[dict[str, Any], list[Incarnation], list[NDArray[Any]], list[str]]] = []
    at = 0
    while at + _FRAME.size <= len(data):
        magic, checksum, head_bytes, count = _FRAME.unpack_from(data, at)
        if magic != _MAGIC:
            raise RecordingError(
                f"{path} is no recording of this version: expected {_MAGIC!r} at byte {at}, got {magic!r}"
            )
        begin = at + _FRAME.size + head_bytes
        end = begin + count * RECORD.itemsize
        if end > len(data):
            break
        if crc32(data[at + _CHECKED : end]) != checksum:
            raise RecordingError(
                f"{path} was altered since it was written: bytes {at} to {end} don't fit their checksum"
            )
        head = json.loads(data[begin - head_bytes : begin])
        if "incarnation" in head:
            found.append((head["incarnation"], [], [], []))
        _, peers, parts, ends = found[-1]
        peers.extend(Incarnation(agent, number) for agent, number in head["peers"])
        parts.append(np.frombuffer(data, RECORD, count, begin))
        ends += [head["ended"]] if "ended" in head else []
        at = end
    empty = np.empty(0, RECORD)
    return [
        Recording(facts, peers, np.concatenate([empty, *parts]), next(iter(ends), ""))
        for facts, peers, parts, ends in found
    ]
