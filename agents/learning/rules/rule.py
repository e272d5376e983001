"""What a learning rule is: how what exchanges did to the params meets the optimizer."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import optax

from agents.learning.errors import TaskError
from agents.mixing.layout import THETA

Exchanged = Callable[[Any, Any, Any], tuple[Any, Any]]
Final = Callable[[Any, Any], tuple[Any, Any]]


class Rule(NamedTuple):
    """An optax transformation around the optimizer, and what follows for its state from exchanges.

    vectors: the names of the vectors that are exchanged, in the order of the layout; `theta` is the parameters.
    around(optimizer) -> optimizer: with the rule's part in each local step; its state is kept, and saved, as any
        optimizer's is.
    exchanged(state, before, after) -> (state, params): exchanges have moved an agent's params, any pytree, from before
        to after; training goes on from the params that are returned, with this state of `around(optimizer)`. None if
        nothing follows: training goes on from `after`. Where there are further vectors, before and after are tuples,
        (params, ...), in the order of `vectors`.
    beside(state) -> the further vectors as they are now: a tuple of pytrees of the params' shapes, float32. A rule that
        has some has `exchanged` too, which takes in what exchanges did to them. None if theta is exchanged alone.
    final(state, params) -> (state, params): an agent has taken its last local step; it gossips on, finishes and is
        saved with these. Called again without a step in between it must change nothing. None if nothing follows.
    """

    name: str
    vectors: tuple[str, ...]
    around: Callable[[optax.GradientTransformationExtraArgs], optax.GradientTransformationExtraArgs]
    exchanged: Exchanged | None = None
    beside: Callable[[Any], tuple[Any, ...]] | None = None
    final: Final | None = None

    @property
    def is_of_one_model(self) -> bool:
        """Whether an agent's state says something of the model that it trains, and would be wrong of another."""
        return self.exchanged is not None or self.final is not None


def checked_rule(rule: Any) -> Rule:
    """The rule, of one's own or a built-in one, as JAX's caches need it. Raises TaskError."""
    if not isinstance(rule, Rule):
        raise TaskError(f"a rule is a Rule(name, vectors, around, exchanged): got {type(rule).__name__} {rule!r:.40}")
    if not isinstance(rule.name, str) or not rule.name.isprintable() or not rule.name:
        raise TaskError(f"Rule(name=...) must be a printable text: got {rule.name!r:.40}")
    vectors = checked_vectors(rule.vectors, "Rule")
    if (len(vectors) > 1) != (rule.beside is not None) or (rule.beside is not None and rule.exchanged is None):
        raise TaskError(
            f"Rule(beside=..., exchanged=...) must be given where vectors has more than {THETA!r}, and beside only "
            f"there: got vectors {rule.vectors!r:.60}"
        )
    functions = [(name, getattr(rule, name)) for name in ("around", "exchanged", "beside", "final")]
    for name, value in functions:
        if not callable(value) and not (name != "around" and value is None):
            raise TaskError(f"Rule({name}=...) must be a function: got {value!r:.40}")
        try:
            hash(value)
        except TypeError:
            raise TaskError(f"Rule({name}=...) must be hashable, as functions are: got {value!r:.40}") from None
    return rule._replace(vectors=vectors)


def checked_vectors(given: Any, by: str) -> tuple[str, ...]:
    """The names of the vectors that are exchanged. by: to whom they were given. Raises TaskError."""
    vectors = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if vectors[:1] != (THETA,) or not all(map(_is_name, vectors)) or len(set(vectors)) < len(vectors):
        raise TaskError(f"{by}(vectors=...) must be names of vectors, each once, {THETA!r} first: got {given!r:.60}")
    return vectors


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()
