"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from collections.abc import Callable

from agents.learning.rule_names import (
    ACCELERATED,
    DRIFT,
    EMA,
    MOMENTUM,
    NOLOCO,
    PROX,
    QUASI,
    TRACKING,
    VALUES,
    UnknownRule,
    parse_rule,
)
from agents.learning.rules.accelerated import accelerated
from agents.learning.rules.check import check_followed, transformed
from agents.learning.rules.drift import drift
from agents.learning.rules.ema import ema
from agents.learning.rules.hashing import rule_hash
from agents.learning.rules.momentum import momentum
from agents.learning.rules.noloco import noloco
from agents.learning.rules.parameters import parameters
from agents.learning.rules.prox import prox
from agents.learning.rules.quasi import quasi
from agents.learning.rules.rule import Rule, checked_rule
from agents.learning.rules.together import together
from agents.learning.rules.tracking import tracking

MAKE: dict[str, Callable[..., Rule]] = {
    **{MOMENTUM: momentum, QUASI: quasi, DRIFT: drift, NOLOCO: noloco, PROX: prox, TRACKING: tracking},
    **{EMA: ema, ACCELERATED: accelerated},
}
"""A part of a rule of each name, with its number if it takes one."""

__all__ = [
    "MAKE",
    "Rule",
    "UnknownRule",
    "accelerated",
    "check_followed",
    "checked_rule",
    "drift",
    "ema",
    "momentum",
    "named",
    "noloco",
    "parameters",
    "prox",
    "quasi",
    "rule_hash",
    "together",
    "tracking",
    "transformed",
]


def named(text: str | Rule, steps: int | None = None) -> Rule:
    """The rule of this name, such as "drift", "drift:0.2" or "drift+prox:0.01", or one of the user's own as it is.

    steps: of the run, for rules that look at its schedule; None if unknown. Raises UnknownRule or TaskError.
    """
    if not isinstance(text, str):
        return checked_rule(text)
    parts = parse_rule(text)
    return together(tuple(_part(*part, steps) for part in parts)) if parts else parameters


def _part(name: str, number: float | None, steps: int | None) -> Rule:
    value = VALUES[name]
    given = [] if value is None else [value.usual if number is None else number]
    return MAKE[name](*given, *([steps] if name == DRIFT else []))
