"""`agent invite`: a token with which one other machine joins, once."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agents.command.flags import Json
from agents.command.output import print_json
from agents.command.trust import FILE, File
from agents.enrolling import token_of
from agents.values import SettingsError
from transport.addresses import is_address, key_of
from transport.keys import new_key
from transport.trust import INVITE, Trusted
from transport.trust import add as added

Address = Annotated[str, Parameter(name="--join", help="The address of our agent, as it prints it.")]


def invite(label: str = "", *, join: Address, trust: File = FILE, hours: float = 1.0, as_json: Json = False) -> int:
    """Print a token for `agent join`: who has it takes part with a key of its own. It works once, for a while.

    Parameters:
        label: Whose it is.
        hours: For how long.
    """
    if not is_address(join) or not key_of(join):
        raise SettingsError(f"--join is our agent's address with its key, tcp://HOST:PORT#KEY: got {join!r:.80}")
    if not 0 < hours <= 24 * 365:
        raise SettingsError(f"--hours must be positive, and a year at most: got {hours}")
    invitation = new_key()
    until_s = int(time.time() + 3600 * hours)
    added(Path(trust), Trusted(invitation.public, " ".join(label.split()), INVITE, until_s))
    token = token_of(join, invitation)
    if as_json:
        print_json({"token": token, "until": until_s})
    else:
        print(f"AGENT_TOKEN='{token}' agent join")
    return 0
