"""`agent join`: takes part with a token that another site has made."""

from pathlib import Path

from agents.command.flags import Json, Timeout
from agents.command.output import print_json
from agents.command.trust import FILE, File
from agents.enrolling import enroll
from agents.values import SettingsError
from transport.addresses import is_key, key_of
from transport.keys import Key, new_key, write_key
from transport.trust import Trusted
from transport.trust import add as added


def join(
    token: str, *, out: Path = Path("agent.key"), trust: File = FILE, timeout: Timeout = 10.0, as_json: Json = False
) -> int:
    """Exchange a token for a place in the swarm: make a key, trust whom the inviter trusts, print how to go on.

    Parameters:
        token: As `agent invite` prints it.
        out: The file for our new secret key.
    """
    if out.exists():
        raise SettingsError(f"--out {out} exists: give a new file for the key")
    key = new_key()
    address, answer = enroll(token, key, timeout)
    write_key(out, Key(key.seed, answer.vouch))
    for each, label in {key_of(address): "who invited us", **answer.trusted}.items():
        if is_key(each):
            added(trust, Trusted(each, " ".join(str(label).split())))
    command = f"agent run --key {out} --trust {trust} --join '{address}'"
    if as_json:
        print_json({"key": str(out), "public": key.public, "trust": str(trust), "join": address})
    else:
        print(command)
    return 0
