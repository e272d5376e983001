"""The codec of simulated exchanges, which knows the shapes of what the learner trains."""

from agents.learning.learner import Learner
from agents.mixing.blocks import Blocks
from agents.mixing.codecs import Codec, named
from agents.mixing.layout import matrices


def codec_for(name: str, learner: Learner) -> Codec:
    """The codec of this name, for exchanges of all of the learner's parameters at once, or of a vector beside them."""
    return named(name).on(matrices(parameter.shape for parameter in learner.spec))


def message_bytes(name: str, learner: Learner, blocks: Blocks | None = None) -> float:
    """Of an offer and of an answer about all vectors that the rule exchanges, on average.

    blocks: of which parameters; None for all.
    """
    whole = blocks is None or blocks.nested  # Of a nested model what the largest slices exchange.
    scope = Blocks.whole(learner.size).scope if whole or blocks is None else blocks.scope
    shapes = [parameter.shape for parameter in learner.spec]
    codec = named(name).on(tuple(each for start, stop in scope.ranges for each in matrices(shapes, slice(start, stop))))
    return len(learner.rule.vectors) * sum(codec.size(scope.size)) / 2
