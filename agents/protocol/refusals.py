"""Why an agent that introduces itself is refused, and what its operator can do."""

from agents.manifest import Manifest
from transport.addresses import key_of
from transport.messages import ConnectionId, Hello, Refuse, Welcome

HINTS = {
    "protocol version": "install the same version on both sides",
    "run": "give the --run of the swarm, or none to take it over",
    "name": "give another --name",
    "key": "each agent needs one of its own: `agent keygen --out FILE`",
    "role": "an observer's key may look, and not take part: `agent trust add KEY` without --role makes it an agent's",
    "manifest": "all agents of a run share this: give the swarm's value (`agent run --join` takes it over if it is "
    "left out), or start another run",
}
"""What an operator can do, by what differs."""


def mismatch(
    ours: Hello, manifest: Manifest, key: str, connection: ConnectionId, theirs: Hello | Welcome
) -> Refuse | None:
    """Why a handshake with this agent or observer fails; None if it succeeds.

    ours: our Hello. key: our public key, "" where agents have none.
    """
    if theirs.version != ours.version:
        return Refuse("protocol version", str(ours.version), str(theirs.version))
    if not theirs.agent:
        return None
    if ours.run and theirs.run and ours.run != theirs.run:
        return Refuse("run", ours.run, theirs.run)
    if theirs.manifest != ours.manifest:
        settings = dict(theirs.settings if isinstance(theirs, Welcome) else manifest.settings)
        return Refuse("manifest", ours.manifest, theirs.manifest, settings)
    same = (theirs.incarnation, key_of(connection)) == (ours.incarnation, key)
    if theirs.agent == ours.agent and not same:
        return Refuse("name", "one that no other agent has", theirs.agent)
    return None
