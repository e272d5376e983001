"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from collections.abc import Callable

from agents.learning.rule_names import DRIFT, PARAMETERS, UnknownRule, parse_rule
from agents.learning.rules.accelerated import accelerated
from agents.learning.rules.check import check_exchanged, transformed
from agents.learning.rules.drift import drift
from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule, checked_rule, rule_hash

MAKE: dict[str, Callable[[float], Rule]] = {PARAMETERS: lambda gain: parameters, DRIFT: drift}
"""A rule of each name with its gain."""

__all__ = [
    "MAKE",
    "Rule",
    "UnknownRule",
    "accelerated",
    "check_exchanged",
    "checked_rule",
    "drift",
    "named",
    "parameters",
    "rule_hash",
    "transformed",
]


def named(text: str | Rule) -> Rule:
    """The rule of this name, such as "drift" or "drift:0.2", or one of the user's own as it is.

    Raises UnknownRule or TaskError.
    """
    if not isinstance(text, str):
        return checked_rule(text)
    name, gain = parse_rule(text)
    return MAKE[name](gain)
