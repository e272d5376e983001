"""A row of docs/literature.md: what a paper reports, what the simulator gives, and whether that is the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

YES, IN_PART, NO, SKIPPED = "yes", "in part", "no", "skipped"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. values: {name: the number of each seed}, from which `ours` was written.

    reproduction: the name of its script. case: what was run. reported: the paper's number or claim, with its place.
    ours: our numbers, mean and standard deviation over seeds. match: yes, in part, no or skipped, by the criterion that
    `why` names.
    """

    reproduction: str
    case: str
    reported: str
    ours: str
    seeds: str
    match: str
    why: str
    values: dict[str, list[float | None]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def spread(values: Sequence[float] | Any, form: str = ".3g") -> str:
    """The mean and standard deviation of some numbers."""
    return f"{np.mean(values):{form}} ± {np.std(values):{form}}"


def listed(values: Any) -> list[float | None]:
    """Numbers as JSON has them, of four digits; None for what is not finite."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in np.ravel(values)]


def skipped(reproduction: str, case: str, reported: str, why: str) -> Row:
    """A row of what can't be run here."""
    return Row(
        reproduction=reproduction, case=case, reported=reported, ours="not run", seeds="", match=SKIPPED, why=why
    )
