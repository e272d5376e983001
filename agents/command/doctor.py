"""`agent doctor`: whether an agent with these settings can take part from this machine, before it starts."""

import json
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents import settings
from agents.claim import RUNS
from agents.command.flags import Gossiping, Json, Learning, Placing, Securing, Timeout
from agents.command.output import reserved
from agents.joining import AgentSettings
from agents.observe import machine
from agents.observe.contacts import peer
from agents.observe.errors import Unreachable
from agents.observe.machine import PROBLEM, WARNING, WELL, Finding
from agents.observe.observer import observing
from agents.observe.texts import visible
from agents.securing import credentials, listens_at
from agents.sinks.names import TRACKERS, need, place
from topology.errors import GossamerError
from transport.addresses import advertised
from transport.credentials import Credentials

STYLES = {WELL: "green", WARNING: "yellow", PROBLEM: "red"}

PEERS = 16
"""So many peers are measured, one after the other."""


def doctor(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    placing: Placing = settings.Placing(),
    securing: Securing = settings.Securing(),
    *,
    timeout: Timeout = 5.0,
    as_json: Json = False,
) -> int:
    """Check what `agent run` with the same flags would meet: this machine, its address, and the swarm at --join.

    It takes no part and changes nothing. Ends with 2 if there is a problem; warnings alone are none.
    """
    findings = []
    with reserved(as_json):
        for finding in _findings(learning, gossiping, placing, securing, timeout):
            findings.append(finding)
            if not as_json:
                Console(soft_wrap=True).print(_line(finding), end="")
    problems = sum(finding.state == PROBLEM for finding in findings)
    if as_json:
        print(json.dumps({"well": not problems, "checks": [finding._asdict() for finding in findings]}))
    return 2 if problems else 0


def _findings(
    learning: Learning, gossiping: Gossiping, placing: Placing, securing: Securing, timeout_s: float
) -> Iterator[Finding]:
    """Each check's finding as soon as it is there."""
    yield machine.software()
    yield machine.device()
    yield machine.files()
    yield machine.clock()
    yield machine.disk(placing.run_dir or RUNS)
    yield from _metrics(placing)
    if learning.task and not placing.join:  # Where there is a swarm, what it shares is taken over first.
        from agents.observe.agreement import trainable  # It brings JAX, which little else here needs.

        yield trainable(learning, gossiping, placing.shard)
    ours: Credentials | None = None
    listen = listens_at(placing, securing)
    try:
        ours = credentials(securing, placing.join, listen=listen, advertise=placing.advertise, agent=True)
    except (GossamerError, OSError) as error:
        yield Finding("keys", PROBLEM, str(error), f"`agent explain {getattr(error, 'code', 'G408')}` says more")
        return
    yield Finding("keys", WELL, _secrecy(securing, ours))
    published = "" if listen is None else advertised(listen.replace(":*", ":0"), placing.join, placing.advertise)
    yield machine.listening(listen, published)
    if placing.join:
        yield from _swarm((learning, gossiping, placing), ours, timeout_s)


def _metrics(placing: Placing) -> Iterator[Finding]:
    """Whether metrics can go where they should, in the order in which an agent looks."""
    for name in placing.track:
        yield _needed("trackers", f"--track {name}", TRACKERS[name].package, TRACKERS[name].requirement)
    if placing.prometheus is not None:
        finding = _needed("prometheus", "--prometheus", "prometheus_client", "prometheus-client")
        well = finding.state == WELL
        yield machine.served(placing.prometheus, *place(placing.prometheus)) if well else finding


def _needed(check: str, what: str, package: str, requirement: str) -> Finding:
    """Whether the package is installed that this flag needs."""
    try:
        need(what, package, requirement)
    except GossamerError as error:
        return Finding(check, PROBLEM, str(error), f"install it, or leave {what} out")
    return Finding(check, WELL, f"{package} is installed")


def _secrecy(securing: Securing, ours: Credentials | None) -> str:
    """What is proved to others, in words."""
    if ours is None:
        return "none: plaintext, and whoever comes (--insecure)" if securing.insecure else "none, on this machine alone"
    return "a secret that all share" if securing.secret is not None else f"our own, {ours.key.public}"


def _swarm(mine: AgentSettings, ours: Credentials | None, timeout_s: float) -> Iterator[Finding]:
    """What the swarm at --join says of our settings, and how far away its agents are."""
    join = mine[2].join
    try:
        with observing(join, timeout_s, ours) as (observer, welcome):
            observer.reach()
            alive = {member: observer.reached_at(member.agent) or str(member.address) for member in observer.alive()}
    except Unreachable as error:
        yield Finding("swarm", PROBLEM, str(error), f"`agent explain {error.code}` says more")
        return
    yield Finding("swarm", WELL, f"{visible(welcome.run)}: {len(alive)} alive, {welcome.parameters} parameters")
    from agents.observe.agreement import agreement

    yield from agreement(mine, welcome)
    for member, address in list(alive.items())[:PEERS]:
        yield peer(member, address, ours, timeout_s)
    if len(alive) > PEERS:
        yield Finding("peers", WELL, f"{len(alive) - PEERS} more were not measured")


def _line(finding: Finding) -> Table:
    """One finding as a person reads it, with what to do below."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=8)
    table.add_column(width=14)
    table.add_column(ratio=1)
    text = Text(finding.found)
    if finding.advice:
        text.append(f"\n{finding.advice}", style="bold")
    table.add_row(Text(finding.state, STYLES[finding.state]), Text(finding.check), text)
    return table
