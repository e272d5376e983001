"""`agent status`: who is alive, how far, how far apart."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agents import settings
from agents.command.flags import Join, Json, Securing, Timeout
from agents.command.output import print_json, reserved
from agents.finite import is_finite
from agents.observe.reaching import addresses
from agents.observe.records import alarms_of, refusals_of, stalled_for_s
from agents.observe.texts import visible
from agents.observe.watching import watching
from agents.securing import credentials
from agents.values import SettingsError
from transport.messages import AgentId, Member, Welcome

if TYPE_CHECKING:
    from agents.observe.card import Consensus
    from agents.observe.observer import Observer

log = logging.getLogger("gossamer")


MOST_SHOWN = 80
"""Characters of a run's name."""

MERGED = ("agents", "missing", "distance", "accuracy", "loss", "metrics", "metrics_of")
"""What of the merged model's card stands in the JSON."""


def status(
    folder: Path | None = None,
    /,
    securing: Securing = settings.Securing(),
    *,
    join: Join = (),
    merged: Annotated[bool, Parameter(negative="")] = False,
    task: str | None = None,
    data: str | None = None,
    timeout: Timeout = 5.0,
    as_json: Json = False,
) -> int:
    """Who is alive, how far, when each last exchanged, and how far all are from agreeing.

    Parameters:
        folder: The folder of a run on this machine, as `agent launch` prints it, in place of --join ADDRESS.
        merged: Judge the model that all agents merged now would make, on the task's test data; nothing is written.
        task: With --merged, the swarm's task. Needed if it is a file: none is loaded because a member names it.
        data: With --merged, where the task's data lies, if not where it looks by itself.
    """
    if not merged and (task is not None or data is not None):
        raise SettingsError("--task and --data say by what the merged model is judged: give --merged too")
    at = addresses(folder, join, "agent status")
    card: Consensus | None = None
    with (
        reserved(as_json),
        watching(at, timeout, credentials(securing, at, agent=False)) as (watch, welcome),
    ):
        observer = watch.observer
        alive, gone = observer.alive(), observer.gone()
        silent_s = {member.agent: observer.silent_s(member.agent) for member in (*alive, *gone)}
        estimate = watch.estimate()
        sent = {agent: (came_s, links) for agent, (came_s, links) in watch.links().items() if agent in silent_s}
        if merged:
            card = _merged(observer, welcome, task, data)
    refused = {agent: refusals_of(links, came_s) for agent, (came_s, links) in sent.items()}
    apart = estimate.distance if estimate is not None else None
    if as_json:
        members = [
            describe(member, member in alive, silent_s[member.agent], refused.get(member.agent, ()))
            for member in (*alive, *gone)
        ]
        found = {"run": welcome.run, "parameters": welcome.parameters, "consensus_distance": apart, "members": members}
        if card is not None:
            found["merged"] = {name: card.plain()[name] for name in MERGED}
        print_json(found)
    else:
        distance = "" if apart is None else f", consensus distance {apart:.4g}"
        _print(f"{visible(welcome.run, MOST_SHOWN)}: {len(alive)} alive{distance}", alive, gone, silent_s, refused)
        if card is not None:
            print(*card.lines(), sep="\n")
    return 0


def _print(
    title: str,
    alive: list[Member],
    gone: list[Member],
    silent_s: dict[AgentId, float],
    refused: dict[AgentId, list[tuple[float, str]]],
) -> None:
    from agents.command.fitted import printing  # Late, as are its tables: JSON needs none.
    from agents.command.tables import alarms_lines, lost_lines, members_table, refused_lines, votes_lines

    lines = *votes_lines(alive), *alarms_lines(alive), *refused_lines(refused), *lost_lines(alive)
    printing().print(members_table(title, alive, gone, silent_s), *lines, sep="\n")


def _merged(observer: "Observer", welcome: Welcome, task: str | None, data: str | None) -> "Consensus":
    """The card of the model that all agents merged make now."""
    import tempfile  # Late, as is all that averages vectors: who only looks needs none of it.

    from agents.command.judging import judge_of_swarm, judged_by
    from agents.observe.assemble import assemble
    from agents.observe.streaming import SwarmSource

    judge, welcome = judge_of_swarm(observer, welcome, judged_by(task, data))
    if judge is None:
        raise SettingsError("--merged needs the swarm's task to judge by: give it with --task, as the swarm has it")
    with SwarmSource(observer, welcome, (), Path(tempfile.gettempdir())) as source:
        return assemble(source, judge, None, notify=log.info)


def describe(member: Member, alive: bool, silent_s: float, refused: Iterable[tuple[float, str]] = ()) -> dict[str, Any]:
    """A member as plain data. silent_s: the age of this record; that of its last exchange is None if it had none.

    metric: by which it judges its own model while it trains; score: in the last evaluation, best: in any; None where it
    doesn't, or there is no finite one. votes: whether it votes to stop. epsilon_spent, delta: None unless it trains
    privately; loss is None if it does, if it isn't finite, and before its first step, distance before its first
    exchange. weight: what it weighs in exchanges and in the consensus; None if that is no number. refused: as
    `refusals_of` returns it, of which the JSON has the texts.
    """
    report = member.report
    age_s = None if report.last_exchange_s < 0 else round(report.last_exchange_s + silent_s, 3)
    return {
        "agent": member.agent,
        "alive": alive,
        "silent_s": round(silent_s, 3),
        "state": member.state,
        "stalled_s": round(stalled_for_s(member, silent_s), 3),
        "step": report.step,
        "steps": report.steps,
        "loss": report.loss if report.step and is_finite(report.loss) and not report.delta else None,
        "metric": report.metric or None,
        "score": report.score if report.metric and is_finite(report.score) else None,
        "best": report.best if report.metric and is_finite(report.best) else None,
        "votes": report.votes,
        "exchanges": report.exchanges,
        "bytes_sent": report.bytes_sent,
        "lost": report.lost,
        "distance": report.distance if report.exchanges else None,
        "last_exchange_s": age_s,
        "address": member.address,
        "codec": report.codec,
        "shard": report.shard,
        "weight": report.weight if is_finite(report.weight) else None,
        "pid": report.pid,
        "epsilon_spent": report.epsilon if report.delta else None,
        "delta": report.delta or None,
        "alarms": alarms_of(member),
        "refused": [text for _, text in refused],
    }
