"""The names of the learning rules (`agents.learning.rules`), for who doesn't need JAX yet.

    RULE   parameters, or one or more PARTs joined by +
    PART   momentum, quasi[:DECAY], drift[:GAIN], noloco[:MOMENTUM], prox[:MU], tracking[:GAIN], ema[:DECAY] or
           accelerated[:BOOST], each at most once

momentum and quasi exclude each other, as both set the optimizer's momentum. What parts do together doesn't depend on
the order in which they are named: each has its place, `RULE_NAMES` from the optimizer outward.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from topology.errors import GossamerError

PARAMETERS = "parameters"
MOMENTUM, QUASI, DRIFT, NOLOCO, PROX, TRACKING = "momentum", "quasi", "drift", "noloco", "prox", "tracking"
EMA, ACCELERATED = "ema", "accelerated"

GAIN, LOOP = 0.25, 0.5
"""Of the rule drift, and what it is at most when multiplied by the local steps between two exchanges: at 0.4 and 0.8
agents go apart where codecs round (docs/theory.md 25)."""

OF_ONE_MODEL = (
    "turns go with rule 'parameters', or one of your own that only changes the optimizer: what others keep belongs to "
    "the subnetwork that an agent leaves"
)
"""Why agents don't go from one subnetwork to another with a `Rule` that `is_of_one_model`."""

USUAL_STEPS = 10
"""Local steps between two exchanges, where a time is set in their place."""


BOOSTED, MOST_BOOST = 0.85, 1000.0
"""Of the best boost of the rule accelerated, and the largest: 1.4 times the best takes agents apart."""


class Value(NamedTuple):
    """The number that a part of a rule takes. usual: where none is given. most: at most, or below that if `open`.

    least: at least; above that where it is 0.
    """

    name: str
    usual: float
    most: float
    open: bool = False
    least: float = 0.0

    @property
    def allowed(self) -> str:
        """In words."""
        least = f"{self.least:g} or more" if self.least else "above 0"
        return f"a number {least}, {'below' if self.open else 'at most'} {self.most:g}"

    def holds(self, number: float) -> bool:
        """Whether this number is one of them."""
        return number > 0 and self.least <= number <= self.most and not (self.open and number == self.most)


VALUES: dict[str, Value | None] = {
    MOMENTUM: None,
    QUASI: Value("DECAY", 0.9, 1, open=True),
    DRIFT: Value("GAIN", GAIN, 1),
    NOLOCO: Value("MOMENTUM", 0.5, 1, open=True),
    PROX: Value("MU", 0.1, 10),
    TRACKING: Value("GAIN", 0.5, 1),
    EMA: Value("DECAY", 0.99, 1, open=True),
    ACCELERATED: Value("BOOST", 1, MOST_BOOST, least=1),
}
"""Part of a rule: its number, if it takes one; those nearer to the optimizer first."""

RULE_NAMES = (PARAMETERS, *VALUES)
TAKEN = [f"{name}[:{value.name}]" if value else name for name, value in VALUES.items()]
GRAMMAR = f"{PARAMETERS}, or one or more of {', '.join(TAKEN)}"


class UnknownRule(GossamerError, ValueError):
    """No learning rule has this name, or its value isn't one."""

    code = "G107"


Parts = tuple[tuple[str, float | None], ...]
"""Names of a rule's parts with their numbers, None where none is given; those nearer to the optimizer first."""


def parse_rule(text: str) -> Parts:
    """The parts of "drift", "drift:0.05" or "prox:0.01+drift"; none of "parameters". Raises UnknownRule."""
    if text == PARAMETERS:
        return ()
    found: dict[str, float | None] = {}
    for part in text.split("+"):
        name, colon, number = part.partition(":")
        if name not in VALUES or name in found or (colon and VALUES[name] is None):
            raise UnknownRule(f"rule is {GRAMMAR}, joined by + and each once: got {text!r}")
        value = VALUES[name]
        found[name] = _number(name, value, number) if colon and value else None
    if MOMENTUM in found and QUASI in found:
        raise UnknownRule(
            f"rules {MOMENTUM} and {QUASI} both set the optimizer's momentum: name one of them, got {text!r}"
        )
    return tuple((name, found[name]) for name in VALUES if name in found)


def _number(name: str, value: Value, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not value.holds(number):
        raise UnknownRule(f"rule {name}:{value.name} has as its {value.name.lower()} {value.allowed}: got {text!r}")
    return number


def check_with(rule: str | None, codec: str, weights_change: bool = False) -> None:
    """Raise UnknownRule for the rule drift with a low-rank codec, or drift or tracking where agents' weights change.

    With the first, agents diverge: accuracy fell to 0.2 (PowerGossip's codec, on Fashion-MNIST). Both rules add up
    corrections whose weighted sum is zero, which it stays with constant weights alone (docs/theory.md 25).
    """
    parts = dict(parse_rule(rule or PARAMETERS))
    if weights_change and (named := next((name for name in (DRIFT, TRACKING) if name in parts), None)):
        raise UnknownRule(
            f"rule {named} corrects by what agents weigh, which --weigh speed changes meanwhile: give --weigh samples "
            f"or equal, or a rule without {named}"
        )
    if codec.startswith("lowrank") and DRIFT in parts:
        raise UnknownRule(
            f"rule drift learns from whole differences, of which the codec {codec} carries a part: give another codec, "
            "such as lattice:4, or a rule without drift"
        )


def overlaps(setting: str, rule: str) -> bool:
    """Whether training goes on while its exchange is under way: "yes", "no", or "auto", as the rule allows.

    The gain of drift follows from the steps between two exchanges; where some are skipped, agents go apart.
    """
    return setting == "yes" or (setting == "auto" and DRIFT not in rule)


def with_values(text: str, steps: int | None, boost: Callable[[], float] | None = None) -> str:
    """The rule as all agents must share it: parts in order, each with its number.

    "prox+drift" is "drift:0.05+prox:0.1" where steps are 10. steps: local ones between two exchanges that an agent
    begins; None for a time in their place. boost: that of `accelerated` on the agents' graph. Raises UnknownRule.
    """
    parts = parse_rule(text)
    usual = {name: value.usual if value else None for name, value in VALUES.items()}
    usual[DRIFT] = float(f"{min(GAIN, LOOP / max(1, steps or USUAL_STEPS)):.4g}")
    if ACCELERATED in dict(parts) and boost is not None:
        usual[ACCELERATED] = float(f"{boost():.4g}")
    return "+".join(_part(name, usual[name] if number is None else number) for name, number in parts) or text


def same_rule(given: str, theirs: str) -> bool:
    """Whether a rule as a user gave it is a complete one: a number that the user left out may be any.

    given: as a user wrote it. theirs: a rule's text, or the name of one of a task's own.
    """
    try:
        ours, others = parse_rule(given), parse_rule(theirs)
    except UnknownRule:
        return given == theirs
    named = [name for name, _ in ours] == [name for name, _ in others]
    return named and all(number in (None, other) for (_, number), (_, other) in zip(ours, others, strict=True))


def leaves_open(text: str) -> bool:
    """Whether a rule's text leaves out a number, so that its default is still to be found."""
    return any(number is None and VALUES[name] is not None for name, number in parse_rule(text))


def _part(name: str, number: float | None) -> str:
    return name if number is None else f"{name}:{number:.10g}"
