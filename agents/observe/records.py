"""What an observer makes of a record: whether it is believed, and what it shows of its agent."""

from collections.abc import Callable, Iterable

from agents.mixing.bounds import MAX_WEIGHT
from agents.protocol.timing import LAN, TIMINGS
from transport.credentials import Credentials
from transport.messages import BETWEEN_ALARMS, AgentId, Links, Member, Message, Welcome
from transport.signing import signer


def believed(
    members: Iterable[Member],
    known: Callable[[AgentId], Member | None],
    credentials: Credentials | None,
    welcome: Welcome | None,
) -> list[Member]:
    """The records among these with a valid signature for the run of `welcome`; all of them where agents have no keys.

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


SWARM = 16
"""In a larger swarm records of each agent arrive more seldom, and an agent is taken for silent later."""


def silent_after_s(welcomes: Iterable[Welcome], agents: int) -> float:
    """How old a record may be, in seconds, by what those that sent these take for their network, in such a swarm."""
    networks = {str(welcome.suggestions.get("network")) for welcome in welcomes}
    longest_s = max([LAN.silent_s, *(TIMINGS[network].silent_s for network in networks if network in TIMINGS)])
    return longest_s * max(1.0, agents / SWARM)


def ignore(message: Message, welcome: Welcome) -> None:
    """Do nothing with a message that isn't about members."""


def weighs(member: Member) -> bool:
    """Whether an exchange would take its weight: with one beyond, sums of a mean would not be finite."""
    return 0 < member.report.weight <= MAX_WEIGHT


def vector_weight(member: Member) -> float:
    """What its vector weighs: its weight, or what an exact finish that was not completed has made of it."""
    report = member.report
    return report.mass if 0 < report.mass <= MAX_WEIGHT else report.weight


def alarms_of(member: Member) -> list[str]:
    """What this member finds wrong with its peers, in words."""
    return [alarm for alarm in member.report.alarm.split(BETWEEN_ALARMS) if alarm]


MOST_CODECS, MOST_REFUSALS, MOST_CHARACTERS = 17, 8, 300
"""Of what one agent publishes: codecs, refusals, and letters of each."""

MOST_S = 1e9
"""No refusal is older: some decades."""


def codecs_of(links: Links) -> dict[str, int]:
    """Bytes that an agent's exchanges have sent, by codec; what is none is left out."""
    sent = list(links.bytes_by_codec.items())[:MOST_CODECS]
    return {codec[:64]: count for codec, count in sent if type(count) is int and count >= 0}


def refusals_of(links: Links, came_s: float) -> list[tuple[float, str]]:
    """What an agent has refused lately, the latest first: how many seconds ago, and in words.

    came_s: the age of what it sent.
    """
    found = [
        (came_s + age_s, what[:MOST_CHARACTERS])
        for what, age_s in list(links.refused.items())[:MOST_REFUSALS]
        if isinstance(age_s, int | float) and not isinstance(age_s, bool) and 0 <= age_s < MOST_S
    ]
    return sorted((ago_s, f"{what}, {ago_s:.0f} s ago") for ago_s, what in found)


def stalled_for_s(member: Member, silent_s: float) -> float:
    """Seconds since this member's last step, 0 unless it is unusually long. silent_s: the age of its record."""
    return member.report.stalled_s + silent_s if member.report.stalled_s and member.state == "training" else 0.0
