"""What an agent publishes about itself, with a loss that can travel: only finite numbers do."""

import math
from collections.abc import Mapping
from typing import Any

LOSS_LIMIT = 1e30
"""What a loss that is not finite is reported as: only finite numbers travel."""


def finite_loss(changes: Mapping[str, Any]) -> dict[str, Any]:
    """These changes of a record, with a finite loss."""
    found = dict(changes)
    if not math.isfinite(found.get("loss", 0.0)):
        found["loss"] = LOSS_LIMIT
    return found
