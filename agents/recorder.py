"""The flight recorder: everything that an agent does to its vectors, in the order in which it does it, in one file.

    train      local steps, from `number` on, `chunk` of them
    publish    the boundary of one chunk: what came in joins theta, and theta is published
    offer      a chunk is read, to be offered in exchange `number`
    answer     the difference to a peer's offer is taken; close: that of an answer. By (1 - alpha) * share
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

from topology.errors import GossamerError

log = logging.getLogger("gossamer")

FILE = "tape.bin"

TRAIN, PUBLISH, OFFER, ANSWER, CLOSE, SERVE, KEEP, ADOPT, SAVE = range(1, 10)

RECORD = np.dtype(
    [
        ("op", "u1"),
        ("peer", "<u2"),  # its place among the names; 0 for nobody
        ("chunk", "<u4"),
        ("number", "<i8"),
        ("alpha", "<f8"),
        ("share", "<f8"),
    ]
)

_FRAME = struct.Struct("<4sII")  # magic, bytes of JSON, records
_MAGIC = b"GSM1"

Life = tuple[str, int]
"""An agent and its incarnation."""


class TapeFileError(GossamerError, ValueError):
    """A file is not an agent's tape. One line: what was expected and what came."""


class Recorder:
    """Appends to the tape at `path`. facts: what a replay must know of this life, JSON-able.

    `note` may be called by any thread and only fills memory; `flush` writes, and is one thread's business. If the disk
    takes no more, the tape ends there, with a warning: a tape with a hole could not be replayed.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `close`
        self._whole = self._file.tell()
        self._ended = False
        self._entries: list[tuple[int, Life | None, int, int, float, float]] = []
        self._peers: dict[Life, int] = {}
        self._facts: dict[str, Any] | None = facts

    def note(
        self, op: int, chunk: int = 0, peer: Life | None = None, number: int = 0, alpha: float = 0.0, share: float = 0.0
    ) -> None:
        """One thing has been done."""
        if self._ended:
            return
        self._entries.append((op, peer, chunk, number, alpha, share))

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
        if not entries and self._facts is None:
            return
        head = json.dumps({"peers": fresh} | ({"life": self._facts} if self._facts else {})).encode()
        try:
            self._file.write(_FRAME.pack(_MAGIC, len(head), len(entries)) + head + records.tobytes())
            self._file.flush()
        except OSError as error:
            self._end(error)
            return
        self._whole = self._file.tell()
        self._facts = None

    def close(self) -> None:
        """Write the rest."""
        if not self._ended:
            self.flush()
        if not self._ended:
            self._file.close()

    def _end(self, error: OSError) -> None:
        """Cut off what was written in part, so that a later start may append."""
        self._ended = True
        self._entries.clear()
        log.warning("%s could not be written (%s): nothing more is recorded, training goes on", self._path, error)
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.truncate(self._path, self._whole)


class LifeTape(NamedTuple):
    """What one life of an agent did. facts: as given to the recorder. records: of RECORD; peers: of `peer`, from 1."""

    facts: dict[str, Any]
    peers: list[Life]
    records: NDArray[Any]


def read_tape(path: Path) -> list[LifeTape]:
    """The lives of one agent, one after the other. Raises TapeFileError; a frame that was cut off is left out."""
    data = path.read_bytes()
    lives: list[tuple[dict[str, Any], list[Life], list[NDArray[Any]]]] = []
    at = 0
    while at + _FRAME.size <= len(data):
        magic, head_bytes, count = _FRAME.unpack_from(data, at)
        if magic != _MAGIC:
            raise TapeFileError(f"{path} is no agent's tape: expected {_MAGIC!r} at byte {at}, got {magic!r}")
        begin = at + _FRAME.size + head_bytes
        end = begin + count * RECORD.itemsize
        if end > len(data):
            break
        head = json.loads(data[begin - head_bytes : begin])
        if "life" in head:
            lives.append((head["life"], [], []))
        _, peers, parts = lives[-1]
        peers.extend((agent, incarnation) for agent, incarnation in head["peers"])
        parts.append(np.frombuffer(data, RECORD, count, begin))
        at = end
    empty = np.empty(0, RECORD)
    return [LifeTape(facts, peers, np.concatenate([empty, *parts])) for facts, peers, parts in lives]
