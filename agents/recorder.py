"""The flight recorder: everything that an agent does to its vectors, in the order in which it does it, in one file.

    train      local steps, from `number` on, `chunk` of them
    publish    the boundary of one chunk: what came in joins theta, and theta is published
    offer      a chunk is read, to be offered in exchange `number`
    answer     a peer's offer is applied, by -rate; apply: the answer to ours is, by rate
    serve      a chunk is read for a peer's pull `number`; keep: a chunk of such a vector is here; adopt: it is ours
    save       the checkpoint

Vectors are not recorded: they follow from these and from the data, bit for bit (`sim.replay`). Operations on a chunk
are noted while its lock is held, so their order is the true one. The file is a sequence of frames, each complete in
itself: lengths, new names as JSON, records. What a crash cut off at the end is ignored.
"""

import json
import logging
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.protocol.incarnation import Incarnation
from topology.errors import GossamerError

log = logging.getLogger("gossamer")

FILE = "tape.bin"

TRAIN, PUBLISH, OFFER, ANSWER, APPLY, SERVE, KEEP, ADOPT, SAVE = range(1, 10)

RECORD = np.dtype(
    [
        ("op", "u1"),
        ("peer", "<u2"),  # its place among the names; 0 for nobody
        ("chunk", "<u4"),
        ("number", "<i8"),
        ("rate", "<f8"),
    ]
)

_FRAME = struct.Struct("<4sII")  # magic, bytes of JSON, records
_MAGIC = b"GSM2"


class RecordingError(GossamerError, ValueError):
    """A file is not an agent's recording. One line: what was expected and what came."""


class Recorder:
    """Appends to the recording at `path`, behind its last whole frame, once `begin` was called.

    `note` may be called by any thread and only fills memory; `flush` writes, and is one thread's business. Where it
    can't write, as on a full disk, it warns once and records no more: what it is for is not worth an agent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `close`
        self._whole = _whole_frames(path)
        self._file.truncate(self._whole)  # What a crash cut off; a frame behind it could not be found.
        self._entries: list[tuple[int, Incarnation | None, int, int, float]] = []
        self._peers: dict[Incarnation, int] = {}
        self._facts: dict[str, Any] | None = None
        self._failed = False

    def begin(self, facts: dict[str, Any]) -> None:
        """A new incarnation of the agent. facts: what a replay must know of it, as JSON."""
        self._facts = facts

    def note(
        self, op: int, chunk: int = 0, peer: Incarnation | None = None, number: int = 0, rate: float = 0.0
    ) -> None:
        """One thing has been done."""
        if not self._failed:
            self._entries.append((op, peer, chunk, number, rate))

    def flush(self) -> None:
        """Write what has been noted."""
        entries, self._entries = self._entries, []
        fresh = []
        records = np.empty(len(entries), RECORD)
        for k, (op, peer, *rest) in enumerate(entries):
            if peer is not None and peer not in self._peers:
                self._peers[peer] = len(self._peers) + 1
                fresh.append(list(peer))
            records[k] = (op, self._peers[peer] if peer is not None else 0, *rest)
        if self._failed or (not entries and self._facts is None):
            return
        head = json.dumps({"peers": fresh} | ({"incarnation": self._facts} if self._facts else {})).encode()
        self._facts = None
        try:
            self._file.write(_FRAME.pack(_MAGIC, len(head), len(entries)) + head + records.tobytes())
            self._file.flush()
        except OSError as error:
            self._failed = True
            self._entries.clear()
            log.warning("%s can't be written (%s): this run can't be replayed; training goes on", self._path, error)
        else:
            self._whole = self._file.tell()

    def close(self) -> None:
        """Write the rest. What a full disk took of a frame is cut off, so that a later incarnation may append."""
        self.flush()
        if not self._failed:
            self._file.close()
            return
        with suppress(OSError):  # What was refused stays in the file's buffer, and is tried once more.
            self._file.close()
        with suppress(OSError):
            os.truncate(self._path, self._whole)


def _whole_frames(path: Path) -> int:
    """Bytes of the whole frames at the beginning of a recording; all of a file that is none, which is left as it is."""
    size, at = path.stat().st_size, 0
    with open(path, "rb") as file:
        while at + _FRAME.size <= size:
            file.seek(at)
            magic, head_bytes, count = _FRAME.unpack(file.read(_FRAME.size))
            if magic != _MAGIC:
                return size
            end = at + _FRAME.size + head_bytes + count * RECORD.itemsize
            if end > size:
                break
            at = end
    return at


class Recording(NamedTuple):
    """What one incarnation of an agent did. facts: as given to the recorder. records (n,): of RECORD.

    peers: who the records' `peer` is, counted from 1.
    """

    facts: dict[str, Any]
    peers: list[Incarnation]
    records: NDArray[Any]


def read_recordings(path: Path) -> list[Recording]:
    """The incarnations of one agent, in order. Raises RecordingError; a frame that was cut off is left out."""
    data = path.read_bytes()
    found: list[tuple[dict[str, Any], list[Incarnation], list[NDArray[Any]]]] = []
    at = 0
    while at + _FRAME.size <= len(data):
        magic, head_bytes, count = _FRAME.unpack_from(data, at)
        if magic != _MAGIC:
            raise RecordingError(
                f"{path} is no recording of this version: expected {_MAGIC!r} at byte {at}, got {magic!r}"
            )
        begin = at + _FRAME.size + head_bytes
        end = begin + count * RECORD.itemsize
        if end > len(data):
            break
        head = json.loads(data[begin - head_bytes : begin])
        if "incarnation" in head:
            found.append((head["incarnation"], [], []))
        _, peers, parts = found[-1]
        peers.extend(Incarnation(agent, number) for agent, number in head["peers"])
        parts.append(np.frombuffer(data, RECORD, count, begin))
        at = end
    empty = np.empty(0, RECORD)
    return [Recording(facts, peers, np.concatenate([empty, *parts])) for facts, peers, parts in found]
