"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule, RuleError

__all__ = ["RULES", "Rule", "RuleError", "parameters", "rule_named"]

RULES = {rule.name: rule for rule in (parameters,)}


def rule_named(name: str) -> Rule:
    """The learning rule of that name. Raises RuleError."""
    if name not in RULES:
        raise RuleError(f"no learning rule is called {name!r}: name one of {', '.join(RULES)}")
    return RULES[name]
