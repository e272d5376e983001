"""Which records an observer believes: where agents have keys, those that their own agents have signed."""

from collections.abc import Callable, Iterable

from transport.credentials import Credentials
from transport.messages import AgentId, Member, Welcome
from transport.signing import signer


def believed(
    members: Iterable[Member],
    known: Callable[[AgentId], Member | None],
    credentials: Credentials | None,
    welcome: Welcome | None,
) -> list[Member]:
    """Of these records the ones that are signed for the run of `welcome`; all of them where agents have no keys.

    known: finds the record that we have of an agent, whose signature isn't verified again. welcome: of who sent them.
    """
    signing = signer(credentials, welcome.manifest if welcome is not None else "")
    if signing is None:
        return list(members)
    if welcome is None:
        return []

    def is_known(member: Member) -> bool:
        before = known(member.agent)
        return before is not None and bool(before.signature) and before.signature == member.signature

    return [member for member in members if is_known(member) or signing.is_signed(member, welcome.run)]
