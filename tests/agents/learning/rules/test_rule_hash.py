"""The hash of a rule of one's own: equal wherever the same file lies, other where anything in it has another value."""

from functools import partial

import numpy as np
import pytest

from agents import Rule, load_task
from agents.learning.rules import rule_hash
from tests.agents.line_task import LINE

FILE = (
    LINE
    + """
from dataclasses import dataclass
from functools import partial
import jax, optax
from agents import Rule

def constant(step):
    return 0.1

def scheduled(how, optimizer):
    return optax.chain(optimizer, optax.scale_by_schedule(how))

class Scaled:
    def __init__(self, factor):
        self.factor = factor
        self.itself = self

    def __call__(self, optimizer):
        return optax.chain(optimizer, optax.scale(self.factor))

    def around(self, optimizer):
        return self(optimizer)

@dataclass(frozen=True)
class Chosen:
    how: object = constant

def unchanged(optimizer):
    return optimizer

def followed(chosen, state, before, after):
    return state, after

rules = {
    "given a function": Rule("own", ("theta",), partial(scheduled, constant)),
    "given what a library makes": Rule("own", ("theta",), partial(scheduled, optax.constant_schedule(0.1))),
    "an object": Rule("own", ("theta",), Scaled(0.5)),
    "a method": Rule("own", ("theta",), Scaled(0.5).around),
    "given an object": Rule("own", ("theta",), unchanged, partial(followed, Chosen())),
    "compiled": Rule("own", ("theta",), unchanged, jax.jit(partial(followed, None))),
}
rule = rules[KIND]
"""
)
KINDS = ("given a function", "given what a library makes", "an object", "a method", "given an object", "compiled")


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_the_file_elsewhere_has_the_same_rule(tmp_path, kind):
    found = []
    for place in ("here", "elsewhere"):
        file = tmp_path / place / "mine.py"
        file.parent.mkdir()
        file.write_text(FILE.replace("KIND", repr(kind)))
        found.append(rule_hash(load_task(file).rule))
    assert found[0] == found[1]


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, optimizer):
        return optimizer

    def around(self, optimizer):
        return optimizer


def closing_over(value):
    def around(optimizer):
        assert value is not None
        return optimizer

    return around


def given(value, optimizer):
    assert value is not None
    return optimizer


PAIRS = {
    "number": (0.5, 0.25),
    "list": ([0.5], [0.25]),
    "mapping": ({"gain": 0.5}, {"gain": 0.25}),
    "set": ({0.5}, {0.25}),
    "array": (np.array([0.5, 1.0]), np.array([0.25, 1.0])),
    "long array": (np.arange(5000.0), np.where(np.arange(5000) == 2500, 0.0, np.arange(5000.0))),
    "function": (closing_over(0.5), closing_over(0.25)),
    "object": (Scaled(0.5), Scaled(0.25)),
}


@pytest.mark.parametrize("how", [closing_over, lambda value: partial(given, value)], ids=["closed over", "given"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_another_value_is_another_rule(pair, how):
    one, other = (rule_hash(Rule("own", ("theta",), how(value))) for value in pair)
    assert one != other


@pytest.mark.parametrize("how", [Scaled, lambda factor: Scaled(factor).around], ids=["object", "method"])
def test_an_object_counts_by_what_it_holds(how):
    assert rule_hash(Rule("own", ("theta",), how(0.5))) != rule_hash(Rule("own", ("theta",), how(0.25)))
    assert rule_hash(Rule("own", ("theta",), how(0.5))) == rule_hash(Rule("own", ("theta",), how(0.5)))
