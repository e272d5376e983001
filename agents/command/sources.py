"""Settings that don't stand on the command line: AGENT_* in the environment, then a TOML file. Flags come before both.

A key in the file that no flag of the command is called by is an error. A variable is one only by its prefix, which
others use as well (CI systems set AGENT_NAME, AGENT_OS ...), so an unknown one is ignored; if it looks like one of
ours misspelt, a line on stderr names it.
"""

import logging
import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict, Env

from agents.config import read_toml, refuse_unknown
from agents.fields import settings_of
from agents.settings import Gossiping, Launching, Learning, Placing, Securing
from agents.values import SettingsError

log = logging.getLogger("gossamer")

PREFIX = "AGENT_"
CONFIG = PREFIX + "CONFIG"
LEVEL = PREFIX + "LOG_LEVEL"
"""How much is logged: debug, info (the default), warning."""

OF_RUN = {each.flag: each.key for kind in (Learning, Gossiping, Placing, Securing) for each in settings_of(kind)}
"""The flags of `agent run`, and their keys."""

OF_AGENTS = {*OF_RUN.values(), *(each.key for each in settings_of(Launching))}
"""Keys that a file of settings has for agents, which AGENT_CONFIG names to all commands, those that lack them too."""

SECRETS = [each.flag for each in settings_of(Securing)]
UNGUARDED = {"consensus", "dashboard"}
"""Commands that read a folder's files, for which nothing has to be proved."""

RESUME = "--resume"
RESUMABLE = {"run": "one agent", "launch": "a launch"}
"""Command: whose folders it resumes."""


def sources(arguments: list[str]) -> tuple[Any, ...]:
    """What fills the settings that no flag has set, the first first. `--config FILE` is taken out of the arguments."""
    found: list[Any] = [refuse_negatives, Env(PREFIX, command=False), warn_of_misspelt]
    typed = _take_option(arguments, "--config")
    path = typed or os.environ.get(CONFIG)
    folder = _take_option(list(arguments), RESUME) if arguments and arguments[0] in RESUMABLE else None
    if folder and typed:
        raise SettingsError(f"{RESUME} takes the settings of {folder}: leave out --config {typed}")
    if folder:
        found.append(File(_config_of(Path(folder), arguments[0]), without="run_dir"))
    elif path:
        found.append(File(Path(path), passes_over=() if typed else OF_AGENTS))
    return (*found, leave_out_moot)


def log_level() -> str:
    """How much is logged, by the name that `logging` has for it. Raises SettingsError."""
    asked = os.environ.get(LEVEL, "").upper() or "INFO"
    if asked not in logging.getLevelNamesMapping():
        raise SettingsError(f"{LEVEL} is debug, info, warning or error: got {os.environ[LEVEL]!r}; unset it for info")
    return asked


def _config_of(folder: Path, command: str) -> Path:
    """The settings in a folder that this command is to resume. Raises SettingsError if there are none, or another's."""
    theirs = "launch" if (folder / "agents").is_dir() else "run"
    if not (folder / "config.toml").is_file():
        raise SettingsError(
            f"{RESUME} {folder} holds no config.toml: expected the folder of {RESUMABLE[command]}, as "
            f"`agent {command}` leaves it"
        )
    if theirs != command:
        raise SettingsError(
            f"{RESUME} {folder} is the folder of {RESUMABLE[theirs]}, not of {RESUMABLE[command]}: "
            f"`agent {theirs} {RESUME} {folder}` goes on with it"
        )
    return folder / "config.toml"


class File:
    """A flat TOML file of settings, named as the flags: `learning_rate = 0.01`. Raises SettingsError.

    without: a setting that is left out. passes_over: settings that a command may lack; any other that it lacks is
    an error.
    """

    def __init__(self, path: Path, without: str = "", passes_over: Collection[str] = ()) -> None:
        self._path, self._passes_over = path, passes_over
        try:
            self._settings = {key: value for key, value in read_toml(path).items() if key != without}
        except SettingsError as error:
            raise SettingsError(f"--config: {error}") from None

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in what is still unset."""
        command, known = f"agent {' '.join(commands)}", _keys(arguments)
        settings = {key: value for key, value in self._settings.items() if key in known or key not in self._passes_over}
        refuse_unknown(settings, known, f"{self._path}, for `{command}`", f"see `{command} --help`")
        nested: dict[str, Any] = settings
        for name in reversed(commands):  # In a flat one a setting called as a command, such as join, would be left out.
            nested = {name: nested}
        Dict(nested, source=str(self._path))(app, commands, arguments)


def leave_out_moot(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Leave out what wasn't typed and has no use beside what was: all commands read what is set for agents."""
    typed = {each.name for each in arguments if any(token.source == "cli" for token in each.tokens)}
    absent = {each.name for each in arguments if not each.tokens}
    moot = set[str]()
    if typed & {"FOLDER", "DIR", "--from"}:
        moot |= {"--join", *(SECRETS if UNGUARDED & {*commands} else ())}
    if "--join" in typed:
        moot.add("--from")
    if "--resume" in typed:
        moot.add("--run-dir")
    if absent & {"--merged", "--models"}:
        moot |= {"--task", "--data"}
    for each in arguments:
        if each.name in moot:
            each.tokens[:] = [token for token in each.tokens if token.source == "cli"]


def refuse_negatives(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raise SettingsError for a variable that is called as a flag with --no-: its value would be the setting's own."""
    for each in arguments:
        for flag in each.negatives:
            name = PREFIX + _key(flag).upper()
            if name in os.environ:
                ours = PREFIX + _key(each.name).upper()
                raise SettingsError(f"{name} in the environment is no setting: set {ours}=no, or =yes, in its place")


def warn_of_misspelt(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """One line for each variable that is nearly one of ours."""
    ours = {PREFIX + key.upper() for key in _keys(arguments)} | {CONFIG, LEVEL}
    for name in sorted(os.environ):
        near = get_close_matches(name, ours, 1, cutoff=0.85) if name.startswith(PREFIX) and name not in ours else []
        if near:
            log.warning("%s in the environment is ignored: did you mean %s?", name, near[0])


def _keys(arguments: ArgumentCollection) -> set[str]:
    """Of the settings that these flags have: --no-record is one of the setting record."""
    return {_key(name) for each in arguments for name in each.names if name.startswith("--")} - {
        _key(flag) for each in arguments for flag in each.negatives
    }


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _take_option(arguments: list[str], name: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == name:
            if index + 1 == len(arguments):
                raise SettingsError(f"{name} needs {'a folder' if name == RESUME else 'a file: --config swarm.toml'}")
            del arguments[index]
            return arguments.pop(index)
        if argument.startswith(name + "="):
            return arguments.pop(index).split("=", 1)[1]
    return None
