"""The codec of simulated exchanges, which knows the shapes of what the learner trains."""

from agents.learning.learner import Learner
from agents.mixing.codecs import Codec, named
from agents.mixing.layout import matrices


def codec_for(name: str, learner: Learner) -> Codec:
    """The codec of this name, for exchanges of all of the learner's parameters at once."""
    return named(name).on(matrices(parameter.shape for parameter in learner.spec))


def message_bytes(name: str, learner: Learner) -> float:
    """Of an offer and of an answer about one vector of them, on average."""
    return sum(codec_for(name, learner).size(learner.size)) / 2
