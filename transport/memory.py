"""The memory that messages take: glibc keeps what they free, and a received frame is sent again without a copy."""

import ctypes
import os
from functools import cache
from typing import Any

import zmq


@cache
def keep_freed_memory() -> None:
    """Let glibc keep the megabytes that messages free, up to 128 of them, instead of giving them back at once.

    Otherwise each chunk costs 256 page faults where it arrives: swaps of 100 MB measured 1.4 times slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def nbytes(frame: Any) -> int:
    """The size of a frame, or of any buffer."""
    return len(frame) if type(frame) is bytes else memoryview(frame).nbytes


def received_frame(payload: Any) -> Any:
    """The frame that this payload fills, if we received it in one: ZeroMQ sends that again without a copy or a wait."""
    owner = payload
    while owner is not None and not isinstance(owner, zmq.Frame):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return payload if owner is None or len(owner) != nbytes(payload) else owner
