"""One setting of an agent: its type, its flag, its key in TOML, and both ways between its value and its text."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from operator import index
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, SupportsFloat, SupportsIndex, get_args, get_origin, get_type_hints

from agents.values import Budget, Capacity, Clip, Condition, Every, SettingsError, Shard


@dataclass(frozen=True)
class Setting:
    """One field of a class of settings. kind: str, int, float, bool, Path, tuple (of strings), or one of WRITTEN.

    key: its name in TOML, and with hyphens its flag. optional: whether it may be None, "not given", its default then.
    """

    name: str
    key: str
    kind: type
    optional: bool
    default: Any

    @property
    def flag(self) -> str:
        """Such as --learning-rate."""
        return "--" + self.key.replace("_", "-")

    def parse(self, text: str) -> Any:
        """The value that this text means on a command line. Raises SettingsError without the flag's name."""
        if self.kind in (int, float):
            try:
                return self.typed(int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text))
            except ValueError:
                raise SettingsError(f"expected {EXPECTED[self.kind]}: got {text!r}") from None
        return self.typed(text)

    def typed(self, value: Any) -> Any:
        """The value, given as it is or as TOML holds it, in this setting's type. Raises SettingsError."""
        if value is None and self.optional:
            return None
        match self.kind, value:
            case (kind, str()) if kind in WRITTEN:
                return kind.parse(value)
            case (kind, SupportsFloat()) if kind in (Clip, Capacity) and not isinstance(value, bool):
                return kind.parse(str(float(value)))
            case (kind, _) if kind in (str, bool, *WRITTEN) and isinstance(value, kind):
                return value
            case (kind, _) if kind is Path and isinstance(value, str | PathLike):
                return Path(value)
            case (kind, list() | tuple()) if kind is tuple and all(isinstance(each, str) for each in value):
                return tuple(value)
            case (kind, SupportsIndex()) if kind in (int, float) and not isinstance(value, bool):
                return kind(index(value))
            case (kind, SupportsFloat()) if kind is float and not isinstance(value, bool):
                return float(value)
            case (kind, SupportsFloat()) if kind is int and not isinstance(value, bool) and float(value).is_integer():
                return int(float(value))  # 1e3
        raise SettingsError(f"expected {EXPECTED[self.kind]}: got {value!r}")

    def flags(self, value: Any) -> list[str]:
        """The arguments that set this value on a command line; `parse` reads them."""
        if self.kind is bool:
            return [self.flag if value else self.flag.replace("--", "--no-", 1)]
        texts = (value or ("",)) if self.kind is tuple else [value]
        return [f"{self.flag}={text!r}" if self.kind is float else f"{self.flag}={text}" for text in texts]

    def plain(self, value: Any) -> Any:
        """The value as TOML holds it; `typed` reads it."""
        if self.kind is tuple:
            return list(value)
        return str(value) if self.kind in (Path, *WRITTEN) else value


WRITTEN = (Budget, Capacity, Clip, Condition, Every, Shard)
"""Types whose values are written as text, which their `parse` reads."""

EXPECTED = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    tuple: "a list of texts",
    Clip: 'a factor such as 5, or "off"',
    Every: '"10steps" or "0.5s"',
    Shard: "INDEX/SHARDS, counted from 0",
    Condition: "METRIC>NUMBER",
    Budget: "EPSILON,DELTA",
    Capacity: "a capacity such as 0.5, or one for each agent, as in 1,0.5",
}


@dataclass(frozen=True, kw_only=True)
class Settings(ABC):
    """The base of all classes of settings: brings every field into its type, and remembers which ones were given."""

    def __new__(cls, **given: Any) -> "Settings":
        made = super().__new__(cls)
        object.__setattr__(made, "_given", frozenset(given))
        return made

    @property
    def given(self) -> frozenset[str]:
        """The names of the fields that the constructor was given; the others have their defaults."""
        found: frozenset[str] = self.__dict__["_given"]
        return found

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            try:
                object.__setattr__(self, setting.name, setting.typed(getattr(self, setting.name)))
            except SettingsError as error:
                raise SettingsError(f"{setting.flag}: {error}") from None
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raise SettingsError unless the values fit, each alone and together."""


def settings_of(kind: type[Settings]) -> tuple[Setting, ...]:
    """The settings of one class, in the order of its fields."""
    found, hints = [], get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        optional = isinstance(hint, UnionType)
        plain = get_args(hint)[0] if optional else hint
        key = item.metadata.get("key", item.name)
        found.append(Setting(item.name, key, get_origin(plain) or plain, optional, item.default))
    return tuple(found)
