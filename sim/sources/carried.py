"""Where an asynchronous source stands between two windows, as arrays by name: a run goes on from there."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.sources.messages import Messages

FLYING = "in_flight."


class Carried:
    """Takes down and restores the attributes that `carried` names, arrays and numbers, and the messages in flight."""

    carried: ClassVar[tuple[str, ...]] = (
        *("_queue", "_next", "_turn", "_steps", "_to_join"),
        *("_now", "_exchanges", "_sent", "entering"),
    )

    in_flight: Messages

    def state(self) -> dict[str, NDArray[Any]]:
        """Where it stands once its blocks are taken."""
        found = {name: np.array(getattr(self, name)) for name in self.carried}
        messages = self.in_flight._asdict().items()
        return found | {f"{FLYING}{name}": np.array(column) for name, column in messages}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Stand where another of the same settings stood."""
        for name in self.carried:
            value, kind = state[name], type(getattr(self, name))
            setattr(self, name, np.array(value) if kind is np.ndarray else kind(value.item()))
        self.in_flight = Messages(*(np.array(state[f"{FLYING}{name}"]) for name in Messages._fields))
