"""`agent status`: who is alive, how far, how far apart."""

import json
from typing import Any

from rich.console import Console

from agents import settings
from agents.command.flags import Join, Json, Securing, Timeout
from agents.command.tables import alarms_lines, lost_lines, members_table
from agents.finite import is_finite
from agents.observe.records import alarms_of, stalled_for_s
from agents.observe.watching import watching
from agents.securing import credentials
from transport.messages import Member


def status(
    securing: Securing = settings.Securing(), *, join: Join, timeout: Timeout = 5.0, as_json: Json = False
) -> int:
    """Who is alive, how far, and when each last exchanged."""
    with watching(join, timeout, credentials(securing, join, agent=False)) as (watch, welcome):
        observer = watch.observer
        alive, gone = observer.alive(), observer.gone()
        silent_s = {member.agent: observer.silent_s(member.agent) for member in (*alive, *gone)}
        estimate = watch.estimate()
    apart = estimate.distance if estimate is not None else None
    if as_json:
        members = [describe(member, member in alive, silent_s[member.agent]) for member in (*alive, *gone)]
        run = {"run": welcome.run, "parameters": welcome.parameters, "consensus_distance": apart}
        print(json.dumps({**run, "members": members}))
    else:
        distance = "" if apart is None else f", consensus distance {apart:.4g}"
        table = members_table(f"{welcome.run}: {len(alive)} alive{distance}", alive, gone, silent_s)
        Console().print(table, *alarms_lines(alive), *lost_lines(alive), sep="\n")
    return 0


def describe(member: Member, alive: bool, silent_s: float) -> dict[str, Any]:
    """A member as plain data. silent_s: the age of this record; that of its last exchange is None if it had none.

    epsilon_spent, delta: None unless it trains privately; loss is None if it does, or if it isn't finite.
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
        "loss": report.loss if is_finite(report.loss) and not report.delta else None,
        "exchanges": report.exchanges,
        "bytes_sent": report.bytes_sent,
        "lost": report.lost,
        "distance": report.distance,
        "last_exchange_s": age_s,
        "address": member.address,
        "codec": report.codec,
        "shard": report.shard,
        "pid": report.pid,
        "epsilon_spent": report.epsilon if report.delta else None,
        "delta": report.delta or None,
        "alarms": alarms_of(member),
    }
