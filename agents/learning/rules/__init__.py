"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from agents.learning.rules.check import check_exchanged, transformed
from agents.learning.rules.drift import drift
from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule, checked_rule, rule_hash
from topology.errors import GossamerError

RULES: dict[str, Rule] = {rule.name: rule for rule in (parameters, drift())}

__all__ = [
    "RULES",
    "Rule",
    "UnknownRule",
    "check_exchanged",
    "checked_rule",
    "drift",
    "named",
    "parameters",
    "rule_hash",
    "transformed",
]


class UnknownRule(GossamerError, ValueError):
    """No learning rule has this name."""

    code = "G107"


def named(name: str | Rule) -> Rule:
    """The rule of this name, or one of the user's own as it is. Raises UnknownRule or TaskError."""
    if not isinstance(name, str):
        return checked_rule(name)
    if name not in RULES:
        raise UnknownRule(f"--rule is one of {', '.join(RULES)}: got {name!r}")
    return RULES[name]
