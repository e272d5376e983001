"""Learning rules: how what is exchanged meets the optimizer, one rule a file."""

from agents.learning.rules.parameters import parameters
from agents.learning.rules.rule import Rule

__all__ = ["Rule", "parameters"]
