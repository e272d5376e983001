"""Settings as command-line arguments and as flat TOML, and back."""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, overload

import tomli_w

from agents.fields import Settings, settings_of
from agents.values import SettingsError

A = TypeVar("A", bound=Settings)
B = TypeVar("B", bound=Settings)
C = TypeVar("C", bound=Settings)
D = TypeVar("D", bound=Settings)


def as_flags(*settings: Settings, whole: bool = False, given: bool = False, without: Collection[str] = ()) -> list[str]:
    """The command-line arguments for these settings: those that differ from their defaults.

    whole: all of them that aren't None, so that an agent started with them takes nothing over from others. given: those
    too that were given and equal their defaults, so that no environment stands in their place. without: names of
    settings to leave out.
    """
    flags = []
    for group in settings:
        for setting in settings_of(type(group)):
            if setting.name in without:
                continue
            value = getattr(group, setting.name)
            asked = setting.name != "join" or value  # An empty address is none; what else is empty is said.
            said = (whole or (given and setting.name in group.given)) and value is not None and asked
            if setting.default is MISSING or value != setting.default or said:
                flags += setting.flags(value)
    return flags


def to_toml(*settings: Settings) -> str:
    """All these settings as flat TOML, by key; one that is None is left out."""
    return tomli_w.dumps(plain(*settings))


def plain(*settings: Settings) -> dict[str, Any]:
    """All these settings as TOML holds them, by key; one that is None is left out."""
    values = {}
    for group in settings:
        for setting in settings_of(type(group)):
            value = getattr(group, setting.name)
            if value is not None:
                values[setting.key] = setting.plain(value)
    return values


@overload
def from_toml(source: Path | str, first: type[A], /) -> tuple[A]: ...
@overload
def from_toml(source: Path | str, first: type[A], second: type[B], /) -> tuple[A, B]: ...
@overload
def from_toml(source: Path | str, first: type[A], second: type[B], third: type[C], /) -> tuple[A, B, C]: ...
@overload
def from_toml(
    source: Path | str, first: type[A], second: type[B], third: type[C], fourth: type[D], /
) -> tuple[A, B, C, D]: ...


def from_toml(source: Path | str, /, *kinds: type[Settings]) -> tuple[Settings, ...]:
    """The settings of these classes from flat TOML: the inverse of `to_toml`. source: a file, or a TOML text.

    Raises SettingsError: no TOML, an unknown key (with the nearest known one), a value that can't be used.
    """
    where = str(source) if isinstance(source, Path) else "the settings"
    given = read_toml(source)
    known = {setting.key for kind in kinds for setting in settings_of(kind)}
    refuse_unknown(given, known, where, f"it may have {', '.join(sorted(known))}")
    found = []
    for kind in kinds:
        values = {setting.name: given[setting.key] for setting in settings_of(kind) if setting.key in given}
        missing = [s.key for s in settings_of(kind) if s.default is MISSING and s.name not in values]
        if missing:
            raise SettingsError(f"{where}: {missing[0]} is missing and has no default: add {missing[0]} = ...")
        try:
            found.append(kind(**values))
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
    return tuple(found)


def read_toml(source: Path | str) -> dict[str, Any]:
    """The keys, with underscores for hyphens, and values of a TOML file (a Path) or text. Raises SettingsError."""
    where = str(source) if isinstance(source, Path) else "the settings"
    try:
        text = source.read_text("utf-8") if isinstance(source, Path) else source
        return {key.replace("-", "_"): value for key, value in tomllib.loads(text).items()}
    except FileNotFoundError:
        raise SettingsError(f"there is no file {where}; expected a TOML file of settings") from None
    except OSError as error:
        raise SettingsError(f"{where} can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{where}: expected TOML, lines such as alpha = 0.5: {error}") from None


def refuse_unknown(given: Mapping[str, Any], known: Iterable[str], where: str, otherwise: str) -> None:
    """Raise SettingsError if a key isn't known: with the nearest known one, or else with what to do otherwise."""
    known = sorted(known)
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else otherwise
            raise SettingsError(f"{where}: there is no setting {key!r}; {hint}")
