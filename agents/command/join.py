"""`agent join`: takes part with a token that another site has made."""

import logging
from contextlib import suppress
from pathlib import Path

from agents.command.flags import Json
from agents.command.output import print_json
from agents.command.trust import FILE, File
from agents.enrolling import enroll
from agents.values import SettingsError
from transport.addresses import key_of
from transport.keys import Key, KeyFileError, curve_of, new_key, write_key
from transport.trust import AGENT, Trusted, add_new

log = logging.getLogger("gossamer")


def join(
    token: str, *, out: Path = Path("agent.key"), trust: File = FILE, timeout: float = 10.0, as_json: Json = False
) -> int:
    """Exchange a token for a place in the swarm: make a key, trust whom the inviter trusts, print how to go on.

    What our list says of a key already stays: an observer remains one, and nobody nobody.

    Parameters:
        token: As `agent invite` prints it.
        out: The file for our new secret key.
        timeout: Seconds to wait for the inviter's agent.
    """
    if out.exists():
        raise SettingsError(f"--out {out} exists: give a new file for the key")
    key = new_key()
    address, answer = enroll(token, key, timeout)
    write_key(out, Key(key.seed, answer.vouch))
    others = []
    for each, label in {key_of(address): "who invited us", **answer.trusted}.items():
        with suppress(KeyFileError):
            curve_of(each)
            others.append(Trusted(each, " ".join(str(label).split())))
    kept = [each for each in add_new(trust, others) if each.role != AGENT]
    for said in kept:
        log.warning("%s keeps its line %r, though who invited us trusts that key", trust, str(said))
    command = f"agent run --key {out} --trust {trust} --join '{address}'"
    if as_json:
        left = [{"key": each.key, "label": each.label, "role": each.role} for each in kept]
        print_json({"key": str(out), "public": key.public, "trust": str(trust), "join": address, "kept": left})
    else:
        print(command)
    return 0
