"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from collections.abc import Callable

from agents.learning.rule_names import parse_rule
from agents.learning.rules.drift import drift
from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule

MAKE: dict[str, Callable[[float], Rule]] = {"parameters": lambda value: parameters, "drift": drift}
"""A rule of each name with its value."""

__all__ = ["MAKE", "Rule", "drift", "named", "parameters"]


def named(text: str) -> Rule:
    """The rule of this name, such as "drift" or "drift:0.2". Raises UnknownRule."""
    name, value = parse_rule(text)
    return MAKE[name](value or 0.0)
