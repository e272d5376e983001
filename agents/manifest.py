"""What all agents of a run must share, as plain data with a hash (DESIGN 1.10).

The founder makes it. The handshake carries its hash; a joiner that gives no settings takes it over, and one that
contradicts it is refused with the name of the field and both values.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from transport.messages import Plain


class Contradiction(NamedTuple):
    """A setting that two agents have with different values; None for not at all."""

    name: str
    ours: Plain | None
    theirs: Plain | None

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.ours)} here and {_shown(self.theirs)} there"


@dataclass(frozen=True, eq=False)
class Manifest:
    """The shared settings of a run.

    settings: equal in all agents, such as alpha, topology, seed and the model's hash.
    suggestions: what a joiner takes over unless it gives its own, such as a learning rate.
    """

    settings: Mapping[str, Plain] = field(default_factory=dict)
    suggestions: Mapping[str, Plain] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """The same for the same settings, whatever their order; 1 and 1.0 are the same."""
        plain = {name: _canonical(value) for name, value in self.settings.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]

    def contradiction(self, theirs: Mapping[str, Plain]) -> Contradiction | None:
        """The first setting in which another manifest's settings differ from ours, by name; None if none does."""
        for name in sorted({*self.settings, *theirs}):
            ours, other = self.settings.get(name), theirs.get(name)
            if _canonical(ours) != _canonical(other):
                return Contradiction(name, ours, other)
        return None


def _canonical(value: Plain | None) -> str:
    """The same text for equal settings: whole numbers without a point, of any size; true is no number."""
    return json.dumps(int(value) if type(value) is float and value.is_integer() else value)


def _shown(value: Plain | None) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
