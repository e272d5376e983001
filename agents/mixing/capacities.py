"""Shares of a nested model's hidden units that an agent may hold: the levels of HeteroFL (arXiv 2010.01264)."""

NESTED = "nested"
"""The value of `submodel` where agents hold slices by their capacities."""

CAPACITIES = tuple(1 / 2**k for k in range(5))


def steps_down(capacity: float) -> int | None:
    """How often the whole is halved to this capacity: 0 for 1, 2 for 1/4; None for what is no capacity."""
    return CAPACITIES.index(capacity) if capacity in CAPACITIES else None
