"""The names of the learning rules (`agents.learning.rules`), for who doesn't need JAX yet."""

import math

from topology.errors import GossamerError

PARAMETERS, DRIFT = "parameters", "drift"
RULE_NAMES = (PARAMETERS, DRIFT)

GAIN, LOOP = 0.25, 0.5
"""Of the rule drift, and what it is at most when multiplied by the local steps between two exchanges: at 0.4 and 0.8
agents go apart where codecs round (docs/theory.md 25)."""

USUAL_STEPS = 10
"""Local steps between two exchanges, where a time is set in their place."""


class UnknownRule(GossamerError, ValueError):
    """No learning rule has this name, or its value isn't one."""

    code = "G107"


def parse_rule(text: str) -> tuple[str, float]:
    """The name and the gain of a rule: "parameters", "drift" or "drift:0.05". Raises UnknownRule."""
    name, _, number = text.partition(":")
    if name not in RULE_NAMES or (number and name != DRIFT):
        raise UnknownRule(f"rule is one of {', '.join(RULE_NAMES)}, or drift:GAIN: got {text!r}")
    try:
        gain = float(number) if number else GAIN
    except ValueError:
        gain = math.nan
    if not 0 < gain <= 1:
        raise UnknownRule(f"rule {name}:GAIN has as its gain a number above 0, at most 1: got {number!r}")
    return name, gain


def check_with(rule: str | None, codec: str) -> None:
    """Raises UnknownRule for the rule drift where exchanges carry a few directions alone: with these agents went apart,
    to an accuracy of 0.2 (PowerGossip's, on Fashion-MNIST)."""
    if (rule or PARAMETERS).partition(":")[0] == DRIFT and codec.startswith("lowrank"):
        raise UnknownRule(f"rule drift learns from whole differences, of which {codec} carries a part: choose another")


def with_gain(text: str, steps: int | None) -> str:
    """The rule with its gain, which all agents must share: "drift" is "drift:0.05" where steps are 10.

    steps: local ones between two exchanges that an agent begins; None for a time in their place.
    """
    return f"{text}:{min(GAIN, LOOP / max(1, steps or USUAL_STEPS)):.4g}" if text == DRIFT else text
