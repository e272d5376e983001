"""`agent join`: takes part with a token that another site has made."""

import logging
from contextlib import suppress
from pathlib import Path

from agents.command.flags import Json, Timeout
from agents.command.output import print_json
from agents.command.trust import FILE, File
from agents.enrolling import InvitationVoid, enroll, read_token
from agents.values import SettingsError
from transport.addresses import key_of
from transport.keys import Key, KeyFileError, curve_of, new_key, read_key, rewrite_key, write_key
from transport.trust import AGENT, Trusted, add_new

log = logging.getLogger("gossamer")


def join(
    token: str, *, out: Path = Path("agent.key"), trust: File = FILE, timeout: Timeout = 10.0, as_json: Json = False
) -> int:
    """Exchange a token for a place in the swarm: make a key, trust whom the inviter trusts, print how to go on.

    What our list says of a key already stays: an observer remains one, and nobody nobody.

    Parameters:
        token: As `agent invite` prints it; from the environment (AGENT_TOKEN) it doesn't show among the processes.
        out: The file for our new secret key; one that is there and hasn't joined yet is used, as after a lost answer.
        timeout: Seconds to wait for the inviter's agent.
    """
    address, invitation = read_token(token)
    made = not out.exists()
    key = new_key() if made else read_key(out)
    if key.vouch:
        raise SettingsError(f"--out {out} exists, and has joined with another token: give a new file for the key")
    add_new(trust, [])  # What can't be written is an error before the token is spent.
    if made:
        write_key(out, key)
    try:
        answer = enroll(address, invitation, key, timeout)
    except InvitationVoid:
        if made:
            out.unlink()
        raise
    others = []
    for each, label in {key_of(address): "who invited us", **answer.trusted}.items():
        with suppress(KeyFileError):
            curve_of(each)
            others.append(Trusted(each, " ".join(str(label).split())))
    kept = [each for each in add_new(trust, others) if each.role != AGENT]
    for said in kept:
        log.warning("%s keeps its line %r, though who invited us trusts that key", trust, str(said))
    rewrite_key(out, Key(key.seed, answer.vouch))
    command = f"agent run --key {out} --trust {trust} --join '{address}'"
    if as_json:
        left = [{"key": each.key, "label": each.label, "role": each.role} for each in kept]
        print_json({"key": str(out), "public": key.public, "trust": str(trust), "join": address, "kept": left})
    else:
        print(command)
    return 0
