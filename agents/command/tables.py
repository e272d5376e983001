"""Members of a swarm as a table for people."""

from collections.abc import Iterable, Mapping
from typing import Literal

from rich.text import Text

from agents.command.fitted import Fitted
from agents.finite import is_finite
from agents.observe.records import MOST_REFUSALS, alarms_of, stalled_for_s
from agents.observe.texts import visible
from transport.messages import AgentId, Member

FLOAT32 = "float32"
"""The default codec; a column of codecs is shown only where somebody has another."""

NUMBERS = ("step", "loss", "exchanges", "MB sent", "distance", "last")
BUDGET = "epsilon,delta"
WORDS = ("agent", "state", "codec")

LONG = 300
"""Characters of an alarm, at most."""

LEAVE = ("MB sent", "exchanges", "codec", "last", "distance")
"""Columns that a narrow terminal does without, the first first; then budget, score, loss and state."""

STYLES = {"joining": "yellow", "ready": "yellow", "training": "cyan", "settling": "green", "left": "dim"}


def members_table(
    title: str, alive: Iterable[Member], gone: Iterable[Member] = (), silent_s: Mapping[AgentId, float] | None = None
) -> Fitted:
    """One row a member; distance: to the peer of its last exchange, last: that exchange's age.

    accuracy, or what else models are judged by: of the last evaluation, a column if anybody evaluates while it trains.
    codec: in which it begins exchanges now, a column if anybody has another than float32. epsilon,delta: spent of a
    privacy budget, a column if anybody has one. Who trains privately publishes no loss. silent_s: the age of each one's
    record, by name.
    """
    silent_s = silent_s or {}
    alive, gone = list(alive), list(gone)
    private = any(member.report.delta for member in (*alive, *gone))
    coded = any(member.report.codec not in ("", FLOAT32) for member in (*alive, *gone))
    scored = metric_of((*alive, *gone))
    score = shown_text(scored, 10)
    columns = ["agent", "state", *NUMBERS, *([score] if scored else []), *(["codec"] if coded else [])]
    columns += [BUDGET] if private else []
    shown, rows = (bool(scored), coded, private), []
    for member in alive:
        age_s = silent_s.get(member.agent, 0.0)
        stalled_s = stalled_for_s(member, age_s)
        state = f"stalled for {shown_age(stalled_s)}" if stalled_s else member.state
        rows.append((_row(member, state, "red" if stalled_s else STYLES.get(member.state, ""), age_s, *shown), ""))
    for member in gone:
        age_s = silent_s.get(member.agent, 0.0)
        state = "left" if member.state == "left" else f"silent for {shown_age(age_s)}" if age_s else "silent"
        rows.append((_row(member, state, "dim", age_s, *shown), "dim"))
    aligned: dict[str, Literal["left", "right"]] = {name: "left" if name in WORDS else "right" for name in columns}
    return Fitted(aligned, rows, (*LEAVE, BUDGET, score, "loss", "state"), WORDS, Text(title))


def alarms_lines(members: Iterable[Member]) -> list[Text]:
    """A line for each alarm that a member publishes, as plain text."""
    return [
        Text(f"alarm of {shown_text(m.agent)}: {shown_text(alarm, LONG)}", "red")
        for m in members
        for alarm in alarms_of(m)
    ]


def refused_lines(refused: Mapping[AgentId, Iterable[tuple[float, str]]]) -> list[Text]:
    """A line for each of the last connections that agents refused, the latest first, of however many try.

    refused: by agent, how many seconds ago each was, and in words.
    """
    found = sorted((*each, agent) for agent, of_agent in refused.items() for each in of_agent)
    return [
        Text(f"{shown_text(agent)} refused {shown_text(text, LONG)}", "yellow")
        for _, text, agent in found[:MOST_REFUSALS]
    ]


def lost_lines(members: Iterable[Member]) -> list[Text]:
    """A line for each member that counts chunks as lost."""
    return [Text(f"{shown_text(m.agent)}: {lost_line(m.report.lost)}", "yellow") for m in members if m.report.lost]


def lost_line(chunks: int) -> str:
    """What a person should read of so many chunks that were lost; "" where none was."""
    if not chunks:
        return ""
    what = "chunk was open" if chunks == 1 else "chunks were open"
    return f"{chunks} {what} with an agent that crashed, which one side alone may have applied"


def metric_of(members: Iterable[Member]) -> str:
    """By which metric these members are judged: "score" where they differ, "" where none is."""
    named = {member.report.metric for member in members} - {""}
    return named.pop() if len(named) == 1 else "score" if named else ""


def votes_lines(members: Iterable[Member]) -> list[Text]:
    """A line that counts the votes to stop, where there are any."""
    votes = [member.report.votes for member in members]
    return [Text(f"{sum(votes)} of {len(votes)} agents vote to stop")] if any(votes) else []


def _row(
    member: Member, state: str, style: str, silent_s: float, scored: bool, coded: bool, private: bool
) -> list[Text | str]:
    """A value from a member's record as plain text: markup in it is shown, not interpreted.

    scored: whether scores are shown. coded: whether codecs are. private: whether budgets are, of those who have one.
    """
    age_s, delta = member.report.last_exchange_s, member.report.delta
    spent = f"{member.report.epsilon:.3g},{delta:g}" if delta else "-"
    return [
        Text(shown_text(member.agent)),
        Text(shown_text(state), style),
        f"{member.report.step}/{member.report.steps}" if member.report.steps else str(member.report.step),
        shown_loss(member.report.loss) if member.report.step and not delta else "-",
        str(member.report.exchanges),
        f"{member.report.bytes_sent / 1e6:.1f}",
        shown_number(member.report.distance) if member.report.exchanges else "-",
        shown_age(age_s + silent_s) if age_s >= 0 else "never",
        *([shown_loss(member.report.score) if member.report.metric else "-"] if scored else []),
        *([Text(shown_text(member.report.codec))] if coded else []),
        *([spent] if private else []),
    ]


def shown_loss(loss: float) -> str:
    """A published loss or score, or that it isn't finite."""
    return shown_number(loss) if is_finite(loss) else "not finite"


def shown_number(value: float) -> str:
    """A number in few characters."""
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.2e}"


def shown_age(seconds: float) -> str:
    """How long ago something was."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 1e6 else "days"


def shown_text(text: str, most: int = 80) -> str:
    """A text that a peer chose, cut to so many characters, with a mark for each that isn't printable."""
    return visible(text) if len(text) <= most else visible(text, most - 3) + "..."
