"""Hypothesis strategies for messages of any kind, made of the values that a test has for each type of field."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from transport.messages import MESSAGES, Plain

Values = Mapping[Any, st.SearchStrategy]


def instances(kind: type, values: Values, settings: st.SearchStrategy, payload: st.SearchStrategy) -> st.SearchStrategy:
    """Messages or records of one kind.

    values: {int, float, str, bool: of a field of this type}. settings: of a dict of plain values. payload: of the bytes
    behind the header.
    """

    def of_type(hint: Any) -> st.SearchStrategy:
        hint = getattr(hint, "__supertype__", hint)
        if get_origin(hint) is tuple:
            return st.lists(st.deferred(lambda: of_type(get_args(hint)[0])), max_size=3).map(tuple)
        if hint == dict[str, Plain]:
            return settings
        return values[hint] if hint in values else instances(hint, values, settings, payload)

    hints = get_type_hints(kind)
    return st.builds(
        kind, **{item.name: payload if item.name == "payload" else of_type(hints[item.name]) for item in fields(kind)}
    )


def messages(values: Values, settings: st.SearchStrategy, payload: st.SearchStrategy) -> st.SearchStrategy:
    """Messages of every kind."""
    return st.one_of([instances(kind, values, settings, payload) for kind in MESSAGES])
