"""A hash of a learning rule that is the same in every process and on every machine: of its functions as they are read.

Agents compare it in the manifest, so nothing of one process may enter it: no address in memory, and no path of a file.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.rules.rule import Rule
from agents.learning.task_files import FILES

PLAIN = (bool, int, float, complex, str, bytes, type(None))


def rule_hash(rule: Rule) -> str:
    """The same for a rule of the same name whose functions read the same, on every machine.

    What they were given, and what they close over, counts with its values: numbers, texts, arrays, containers of such,
    further functions, and objects by what they hold.
    """
    return hashlib.sha256("\0".join(_texts(rule, ())).encode()).hexdigest()[:12]


def _texts(rule: Rule, within: tuple[int, ...]) -> list[str]:
    functions = rule.around, rule.exchanged, *filter(None, (rule.beside, rule.final))
    return [rule.name, *rule.vectors[1:], *(source(function, within) for function in functions)]


def source(function: Any, within: tuple[int, ...] = ()) -> str:
    """A function, class or object as it is written, with what it was given, closes over or holds.

    within: ids of what it is part of.
    """
    within = (*within, id(function))
    if isinstance(function, partial):
        given = [*function.args, *sorted(function.keywords.items())]
        return " ".join([source(function.func, within), *(_text(each, within) for each in given)])
    if not (inspect.isroutine(function) or inspect.isclass(function) or hasattr(function, "__wrapped__")):
        return " ".join([source(type(function), within), *(_text(item, within) for item in _fields(function))])
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = _name(function)
    return " ".join([text, *(_text(value, within) for value in _held(inspect.unwrap(function)))])


def _held(function: Any) -> Iterator[Any]:
    """The object that a method belongs to, and what a function closes over."""
    if inspect.ismethod(function):
        yield function.__self__
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # A name that has no value yet, or none any more.
            continue


def _text(value: Any, within: tuple[int, ...]) -> str:
    """What a function was given or closes over; of something that holds itself, its kind alone where it comes again."""
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in within:
        return _name(value)
    inside = (*within, id(value))
    if isinstance(value, Rule):
        return hashlib.sha256("\0".join(_texts(value, inside)).encode()).hexdigest()[:12]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _of_array(value)
    if isinstance(value, Mapping):
        return " ".join([_name(value), *sorted(_text(item, inside) for item in value.items())])
    if isinstance(value, set | frozenset):
        return " ".join([_name(value), *sorted(_text(each, inside) for each in value)])
    if isinstance(value, tuple | list):
        return " ".join(_text(each, inside) for each in value)
    return source(value, within)


def _of_array(value: Any) -> str:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    held = repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()
    return f"{array.dtype}{array.shape}{hashlib.sha256(held).hexdigest()[:12]}"


def _fields(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name."""
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return sorted(getattr(value, "__dict__", {}).items())


def _name(value: Any) -> str:
    """Of a function or class, or of an object's class; of what a task file defines without the file's path."""
    named = value if hasattr(value, "__qualname__") else type(value)
    module = str(getattr(named, "__module__", ""))
    return f"{'' if module.startswith(FILES) else module}.{named.__qualname__}"
