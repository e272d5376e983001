"""`agent status`: who is alive, how far, how far apart."""

import json
from typing import Any

from rich.console import Console

from agents.command.flags import Join, Json, Timeout
from agents.command.tables import members_table
from agents.observe.observer import observing
from transport.messages import Member


def status(*, join: Join, timeout: Timeout = 5.0, as_json: Json = False) -> int:
    """Who is alive, how far, and when each last exchanged."""
    with observing(join, timeout) as (observer, welcome):
        alive, gone = observer.alive(), observer.gone()
        silent_s = {member.agent: observer.silent_s(member.agent) for member in (*alive, *gone)}
    if as_json:
        members = [describe(member, member in alive, silent_s[member.agent]) for member in (*alive, *gone)]
        print(json.dumps({"run": welcome.run, "parameters": welcome.parameters, "members": members}))
    else:
        Console().print(members_table(f"{welcome.run}: {len(alive)} alive", alive, gone, silent_s))
    return 0


def describe(member: Member, alive: bool, silent_s: float) -> dict[str, Any]:
    """A member as plain data. silent_s: the age of this record; that of its last exchange is None if it had none."""
    return {
        "agent": member.agent,
        "alive": alive,
        "silent_s": round(silent_s, 3),
        "state": member.state,
        "step": member.report.step,
        "steps": member.report.steps,
        "loss": member.report.loss,
        "exchanges": member.report.exchanges,
        "bytes_sent": member.report.bytes_sent,
        "distance": member.report.distance,
        "last_exchange_s": None
        if member.report.last_exchange_s < 0
        else round(member.report.last_exchange_s + silent_s, 3),
        "address": member.address,
        "shard": member.report.shard,
        "pid": member.report.pid,
    }
