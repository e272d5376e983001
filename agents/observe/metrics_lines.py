"""Lines of an agent's metrics, read as numbers, and those of evaluations found in a long file."""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, NamedTuple

TAIL = 1 << 16
"""Bytes at the end of a file in which its last line is looked for."""

SCANNED, BLOCK = 1 << 26, 1 << 20
"""Bytes of a longer file, the last ones, in which evaluations are looked for, and how many at a time."""

MARKS = b'"test_', b'"validation_'
"""What stands in the line of an evaluation."""


class Line(NamedTuple):
    """A line of metrics. loss: None if it isn't finite. distance: of the swarm, as the agent estimates it.

    metrics: on held-out data, by name. bytes_by_codec: what exchanges sent.
    """

    time: float
    step: int
    loss: float | None
    exchanges: int
    bytes_sent: int
    distance: float | None
    metrics: Mapping[str, float]
    bytes_by_codec: Mapping[str, int]


KNOWN = {"time", "step", "loss", "exchanges", "skipped", "bytes_sent", "distance", "consensus_distance", "lost"} | {
    *("members", "epsilon_spent", "delta", "bytes_by_codec"),
}
"""What a line holds besides metrics on held-out data."""


def parsed(line: dict[str, Any]) -> Line:
    """A line of metrics as numbers. Raises what a line that is none leads to."""
    metrics = {name: float(value) for name, value in line.items() if name not in KNOWN and _is_number(value)}
    return Line(
        float(line["time"]),
        int(line["step"]),
        float(line["loss"]) if _is_number(line["loss"]) else None,
        int(line["exchanges"]),
        int(line["bytes_sent"]),
        float(line["consensus_distance"]) if _is_number(line.get("consensus_distance")) else None,
        metrics,
        {str(codec): int(count) for codec, count in line.get("bytes_by_codec", {}).items()},
    )


def line_of(text: bytes) -> Line | None:
    """None of what is no line of metrics."""
    try:
        return parsed(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None


def last_distance(files: Iterable[Path]) -> float | None:
    """The swarm's consensus distance by the last whole line of each of these files, their median; None where unknown.

    A file that isn't there, or is none of metrics, has none.
    """
    found = []
    for file in files:
        with suppress(OSError), open(file, "rb") as opened:
            opened.seek(max(0, opened.seek(0, 2) - TAIL))
            *whole, _ = opened.read().split(b"\n")
            last = line_of(whole[-1]) if whole else None
            found += [last.distance] if last is not None and last.distance is not None else []
    return median(found) if found else None


def before(lines: Iterable[Line], step: int) -> list[Line]:
    """Those of an earlier step."""
    return [line for line in lines if line.step < step]


def evaluations(opened: BinaryIO, end: int) -> list[Line]:
    """Those before this place in a file, as far as its last SCANNED bytes before it hold any."""
    found: list[Line] = []
    start, rest = max(0, end - SCANNED), b""
    opened.seek(start)
    while start < end and (block := opened.read(min(BLOCK, end - start))):
        start += len(block)
        whole, _, rest = (rest + block).rpartition(b"\n")
        for text in whole.split(b"\n") if any(mark in whole for mark in MARKS) else ():
            line = line_of(text) if any(mark in text for mark in MARKS) else None
            if line is not None:
                if found and line.step < found[-1].step:
                    found = before(found, line.step)
                found.append(line)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
