"""A vector as a sequence of chunks: the unit of exchange, retry and locking (DESIGN 1.3)."""

CHUNK = 1 << 18
"""Coordinates in a chunk: 1 MiB of float32."""


def chunk_count(parameters: int) -> int:
    """How many chunks a vector of this length has; the last may be shorter."""
    return -(-parameters // CHUNK)


def chunk_slice(chunk: int, parameters: int) -> slice:
    """Where chunk `chunk` lies in the vector."""
    return slice(chunk * CHUNK, min(parameters, (chunk + 1) * CHUNK))
