"""For whom an agent waits: for enough others before it trains, and at the end for somebody who takes the consensus."""

import math
import time
from collections.abc import Callable
from threading import Event

from agents.peer import Peer
from agents.protocol.membership import ABSENT
from agents.settings import Gossiping, Placing
from agents.view import View
from topology.errors import GossamerError

REMIND_S = 30.0
"""Between two lines that say for whom is still waited."""

LOOK_S = 0.05
OBSERVED_S = 1.0
"""How long an agent stays after an observer was last seen, and after the last of its vector was asked for."""

Notify = Callable[[str], None]


class WaitError(GossamerError, RuntimeError):
    """Not all that should take part came in time. One line: how many did, and what to do."""

    code = "G311"


def wait_for_members(peer: Peer, placing: Placing, halted: Event, notify: Notify) -> None:
    """Until so many are here as --wait-for says. Raises WaitError after --wait-limit, unless training then begins."""
    deadline_s = time.monotonic() + placing.wait_limit
    while not peer.wait_for(placing.wait_for, min(REMIND_S, max(0.0, deadline_s - time.monotonic()))):
        if halted.is_set():
            return
        here = 1 + sum(member.state not in ABSENT for member in peer.view().others)
        if time.monotonic() < deadline_s:
            notify(f"{here} of {placing.wait_for} agents are here; waiting for the others (--wait-for)")
            continue
        late = f"--wait-for {placing.wait_for}: only {here} came within --wait-limit {placing.wait_limit:g} s"
        if placing.wait_else == "fail":
            raise WaitError(f"{late}; start the others, wait longer, or train with those who come: --wait-else train")
        notify(f"{late}; starting")
        return


def waited_out(waited_s: float, given_s: float) -> str:
    """Why an agent ends training before its last step. waited_s: of `Peer`. given_s: --settle."""
    if waited_s == math.inf:
        return "the others have finished without us"
    return f"half of the swarm has finished and waited --settle {given_s:g} s"


def stay(
    view: Callable[[], View],
    gossiping: Gossiping,
    halted: Event,
    notify: Notify,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Stay within reach of `agent consensus`: --linger seconds where anybody is there, or until it is taken (--stay).

    Whoever is seen reading is waited for. view: gives the swarm as it looks now. meanwhile: called now and then.
    """
    began_s = time.monotonic()
    until_s, limit_s = began_s + gossiping.linger, began_s + gossiping.stay
    found = view()
    if gossiping.stay:
        notify(f"everyone has finished; staying until the consensus is taken, or {gossiping.stay:g} s (--stay)")
    elif gossiping.linger and (found.others or found.observed):
        notify(f"everyone has finished; staying {gossiping.linger:g} s for `agent consensus`")
    while not halted.is_set():
        found, now = view(), time.monotonic()
        if found.observed:
            until_s = max(until_s, now + OBSERVED_S)
        if found.taken:  # Its last pieces are on their way.
            limit_s = min(limit_s, now + OBSERVED_S)
        within_reach = now <= until_s and (found.others or found.observed)
        if not within_reach and now >= limit_s:
            return
        meanwhile()
        halted.wait(LOOK_S)
