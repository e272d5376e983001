"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from agents.learning.rules.drift import drift
from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule
from topology.errors import GossamerError

RULES: dict[str, Rule] = {rule.name: rule for rule in (parameters, drift())}

__all__ = ["RULES", "Rule", "UnknownRule", "drift", "named", "parameters"]


class UnknownRule(GossamerError, ValueError):
    """No learning rule has this name."""

    code = "G107"


def named(name: str) -> Rule:
    """The rule of this name. Raises UnknownRule."""
    if name not in RULES:
        raise UnknownRule(f"--rule is one of {', '.join(RULES)}: got {name!r}")
    return RULES[name]
