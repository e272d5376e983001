"""`agent trust add|remove|list`: whose keys are trusted, in a text file that running agents watch."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from agents.command.flags import Json
from agents.command.output import print_json
from agents.values import SettingsError
from transport.keys import curve_of
from transport.trust import AGENT, NOBODY, OBSERVER, Trust, Trusted
from transport.trust import add as added
from transport.trust import remove as removed

FILE = Path("agent.trust")

trust = App(
    name="trust", help="Edit the list of keys that are trusted; agents that run with it follow within a second."
)

File = Annotated[Path, Parameter(name="--trust", help="The list, one public key a line, as in authorized_keys.")]


@trust.command
def add(key: str, label: str = "", *, trust: File = FILE, role: str = AGENT) -> int:
    """Trust a key.

    Parameters:
        key: The public key, as `agent keygen` prints it there.
        label: Whose it is.
        role: agent; observer for one that may look and read vectors, but not train; nobody for one that is kept out
            though others vouch for it.
    """
    if role not in (AGENT, OBSERVER, NOBODY):
        raise SettingsError(f"--role is {AGENT}, {OBSERVER} or {NOBODY}: got {role!r}")
    if not label.isprintable() or label.startswith("#"):
        raise SettingsError(f"a label is text in one line: got {label!r}")
    curve_of(key)
    entry = Trusted(key, " ".join(label.split()), role)
    print(f"{trust} {'now holds' if added(trust, entry) else 'held already:'} {entry}")
    return 0


@trust.command
def remove(which: str, *, trust: File = FILE) -> int:
    """Trust a key no longer: agents end its connections within seconds.

    Parameters:
        which: The public key, or a label that one key alone has.
    """
    print(f"{trust} no longer holds {removed(trust, which)}")
    return 0


@trust.command(name="list")
def list_(*, trust: File = FILE, as_json: Json = False) -> int:
    """Show the keys that are trusted."""
    entries = Trust(trust).entries()
    if as_json:
        rows = [{"key": each.key, "label": each.label, "role": each.role} for each in entries]
        print_json({"trusted": rows})
    else:
        print(*entries, sep="\n")
    return 0
