"""What an observer makes of a record: whether it is believed, and what it shows of its agent."""

from collections.abc import Callable, Iterable

from transport.credentials import Credentials
from transport.messages import BETWEEN_ALARMS, AgentId, Member, Message, Welcome
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


def ignore(message: Message, welcome: Welcome) -> None:
    """Do nothing with a message that isn't about members."""


def alarms_of(member: Member) -> list[str]:
    """What this member finds wrong with its peers, in words."""
    return [alarm for alarm in member.report.alarm.split(BETWEEN_ALARMS) if alarm]


def stalled_for_s(member: Member, silent_s: float) -> float:
    """Seconds since this member's last step, 0 unless it is unusually long. silent_s: the age of its record."""
    return member.report.stalled_s + silent_s if member.report.stalled_s and member.state == "training" else 0.0
