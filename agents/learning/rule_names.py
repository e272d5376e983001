"""The names of the learning rules (`agents.learning.rules`), for who doesn't need JAX yet."""

import math

from topology.errors import GossamerError

RULE_NAMES = {"parameters": None, "drift": 0.15}
"""Each with the value that may follow it behind a colon, and what it is where none does; None for none."""


class UnknownRule(GossamerError, ValueError):
    """No learning rule has this name, or its value isn't one."""

    code = "G107"


def parse_rule(text: str) -> tuple[str, float | None]:
    """The name and the value of a rule: "parameters", "drift" or "drift:0.2". Raises UnknownRule."""
    name, _, number = text.partition(":")
    usual = RULE_NAMES.get(name)
    if name not in RULE_NAMES or (number and usual is None):
        known = ", ".join(known if value is None else f"{known}:{value:g}" for known, value in RULE_NAMES.items())
        raise UnknownRule(f"a rule is one of {known}: got {text!r}")
    try:
        value = float(number) if number else usual
    except ValueError:
        value = math.nan
    if value is not None and not 0 < value <= 1:
        raise UnknownRule(f"the value of rule {name!r} is a number above 0, at most 1: got {number!r}")
    return name, value
