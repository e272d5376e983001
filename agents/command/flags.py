"""The settings' classes as flags of a command line, and the flags that several commands share."""

from collections.abc import Sequence
from dataclasses import MISSING, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from agents import settings
from agents.checks import at_least
from agents.fields import Setting, Settings, settings_of
from agents.values import SettingsError

OUTPUT = Group("Output", sort_key=9)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object on stdout.", group=OUTPUT)]
Join = Annotated[
    tuple[str, ...],
    Parameter(
        name="--join",
        help="The address of any agent of the swarm, as it prints it; more than one may be given.",
        show_default=False,
    ),
]


def _in_time(_: object, timeout_s: float) -> None:
    at_least("--timeout", timeout_s, 0)


Timeout = Annotated[
    float, Parameter(name="--timeout", help="Seconds to wait for the first answer.", validator=_in_time)
]

Resume = Annotated[
    Path | None,
    Parameter(
        name="--resume",
        help="Go on with what was interrupted in this folder, with the settings it holds; flags come before them.",
        show_default=False,
    ),
]

SHOWN_AS = {int: int, float: float, Path: Path}
"""How the type of a flag's value is shown in --help; any other is text."""


def flagged(plain: type[Settings], group: Group, **names: str) -> Any:
    """The flags of a class of settings, for the annotation of a command function, which receives a `plain`.

    Cyclopts reads flags off a dataclass and constructs it with what was given. Here that is a dataclass of the same
    fields, default values and docstring, whose construction returns a `plain`; so `agents.settings` knows nothing of
    command lines. names: another flag for a field, such as "-n".
    """
    columns = []
    for setting in settings_of(plain):
        default = field() if setting.default is MISSING else field(default=setting.default)
        columns.append((setting.name, _annotated(setting, names.get(setting.name)), default))
    made = make_dataclass(
        plain.__name__,
        columns,
        frozen=True,
        kw_only=True,
        namespace={"__new__": lambda _, **values: plain(**values), "__doc__": plain.__doc__, "__module__": __name__},
    )
    return Parameter(name="*", group=group)(made)


def _annotated(setting: Setting, other: str | None) -> Any:
    flags = [setting.flag, *([other] if other else [])]
    if setting.kind is bool:
        return Annotated[bool, Parameter(name=flags)]
    if setting.kind is tuple:
        return Annotated[tuple[str, ...], Parameter(name=flags, show_default=bool(setting.default))]

    def parse(_: object, tokens: Sequence[Any]) -> Any:
        try:
            return setting.parse(tokens[0].value)
        except SettingsError as error:
            source = tokens[0].source
            raise ValueError(str(error) if source in ("cli", "env") else f"{error}, in {source}") from None

    shown = False if setting.default in (None, "") else None  # None: as everywhere.
    return Annotated[SHOWN_AS.get(setting.kind, str), Parameter(name=flags, converter=parse, show_default=shown)]


if TYPE_CHECKING:  # What the functions receive.
    from agents.settings import Gossiping as Gossiping
    from agents.settings import Launching as Launching
    from agents.settings import Learning as Learning
    from agents.settings import Placing as Placing
    from agents.settings import Securing as Securing
else:

    @cache
    def __getattr__(name: str) -> Any:
        """The flags of a class of settings, made when a command first names them: most commands have few."""
        match name:
            case "Learning":
                return flagged(settings.Learning, Group("Learning", sort_key=1))
            case "Gossiping":
                return flagged(settings.Gossiping, Group("Gossip", sort_key=2))
            case "Placing":
                return flagged(settings.Placing, Group("Place", sort_key=3))
            case "Securing":
                return flagged(settings.Securing, Group("Security", sort_key=4))
            case "Launching":
                return flagged(settings.Launching, Group("Launch", sort_key=0), agents="-n")
        raise AttributeError(f"no flags are called {name}")
