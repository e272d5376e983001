"""What a run leaves besides its history, so that another goes on where it ended: read and saved without JAX.

The models are the history's theta, or, where the rule ends with others, here. Here are the models of messages in
flight, what training and the codec keep, and where the event source stands: its clocks, turns and messages, from which
seeds draw as in one long run.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.tensors import cooked, raw
from sim.checks import SimulationError, shown

IN_FLIGHT, LOSSES, ORIGIN, FURTHER, TRAINED = "in_flight", "losses", "origin", "further", "trained"
OPTIMIZER, LEARNED, SOURCE = "optimizer/", "learned/", "source/"

NOTHING_KEPT = (
    "resume is a history that simulate returned or History.load read, with what a run needs to go on: one of sweep, of "
    "replay, of virtual agents or of a protocol without state() and restore() has none, nor one whose optimizers would "
    "have taken a quarter of the memory that was free"
)


class Ending(NamedTuple):
    """settings: what must be the same where a run goes on, as JSON holds it. evaluations: there were, without the last.

    arrays: in_flight (V, P), models that messages under way refer to besides the agents' own; losses (agents,); origin
    (P,), the consensus model at round 0; further, what is exchanged beside the agents' models, where the rule has such
    vectors, which follow the models in flight too; trained (agents, P), the agents' models before what the rule ends
    with, where it does; "optimizer/0000", ...; "learned/0000", ...; "source/NAME".
    """

    settings: dict[str, Any]
    evaluations: int
    arrays: dict[str, NDArray[Any]]

    def of(self, kind: str) -> dict[str, NDArray[Any]]:
        """The arrays whose names begin so, without that beginning, in their order."""
        return {name.removeprefix(kind): array for name, array in self.arrays.items() if name.startswith(kind)}

    def saved(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """(arrays as safetensors holds them, the rest as JSON does)."""
        dtypes = {name: str(np.asarray(array).dtype) for name, array in self.arrays.items()}
        order = list(self.arrays)
        rest = {"settings": self.settings, "evaluations": self.evaluations, "dtypes": dtypes, "order": order}
        return {name: raw(array) for name, array in self.arrays.items()}, rest

    @classmethod
    def loaded(cls, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> "Ending":
        """The inverse of `saved`."""
        ordered = {name: cooked(arrays[name], rest["dtypes"][name]) for name in rest["order"]}
        return cls(dict(rest["settings"]), int(rest["evaluations"]), ordered)


def check_same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise SimulationError at the first setting that the run to go on from had otherwise, with both values."""
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            raise SimulationError(
                f"a run goes on with the settings that it had: {name} was {shown(theirs[name])} in the history to "
                f"resume, and is {shown(value)} here"
            )


def plain(value: Any) -> Any:
    """A setting's value so that equal ones are equal once they went through JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return str(dict(sorted(value.items())))
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value) and len(value) <= 8:
        return str(tuple(value))
    try:
        array = np.asarray(value)
    except ValueError:  # Of several kinds: a split.
        return f"given@{hash_of(*(np.asarray(each) for each in value))}"
    return f"given@{hash_of(array)}"


def hash_of(*arrays: Any) -> str:
    """Of the values of arrays."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
