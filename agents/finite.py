"""A loss or score that is not finite: as what it is published, as only finite numbers travel, and what users read."""

import math
from collections.abc import Mapping
from typing import Any

LOSS_LIMIT = 1e30
"""What a loss or score that is not finite is reported as: only finite numbers travel."""

DIVERGED = (
    "the loss is not finite, and such a model is exchanged with nobody: training diverged (give a lower "
    "--learning-rate), or the data holds values that aren't finite"
)
"""What its operator is told."""


def is_finite(loss: float) -> bool:
    """Whether a published loss or score stands for a finite one."""
    return abs(loss) < LOSS_LIMIT


def finite_loss(changes: Mapping[str, Any]) -> dict[str, Any]:
    """These changes of a record, with a finite loss."""
    found = dict(changes)
    if not math.isfinite(found.get("loss", 0.0)):
        found["loss"] = LOSS_LIMIT
    return found
