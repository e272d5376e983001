"""`agent plan`: how many agents, which topology, codec and period, from what this machine and the link can do."""

import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console

from agents import settings
from agents.checks import check_codec, check_topology
from agents.command.fitted import Fitted, printing
from agents.command.flags import Join, Json, Learning, Securing, Timeout
from agents.command.supervise import budget
from agents.config import as_flags
from agents.planning import TIMES as TIMES_TO_AGREE
from agents.planning import Costs, Row, Span, assumptions, best, choices, planned
from agents.values import Every, SettingsError, Shard
from topology.errors import TopologyError

if TYPE_CHECKING:
    from agents.prepare import Prepared

PLAN = Group("Plan", sort_key=0)

SHOWN = 16
"""Rows that a person is shown; --json has all."""

SHORT = "*"
"""Marks the rounds of a row that has no time to agree."""

LOOPBACK_S, LOOPBACK = 0.2e-3, 1e9
"""Round trip and bytes a second between two processes of one machine."""

BANDWIDTH, LATENCY = "1gbit", "0.5ms"

TIMES = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.0, "ms"))
UNITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}


def _flag(name: str, help: str) -> Parameter:
    return Parameter(name=name, help=help, group=PLAN)


def plan(
    learning: Learning = settings.Learning(),
    securing: Securing = settings.Securing(),
    *,
    join: Join = (),
    agents: Annotated[str, _flag("--agents", "How many agents to compare, with commas between.")] = "2,4,8,16",
    topology: Annotated[str, _flag("--topology", "Topologies to compare.")] = "ring,exponential,base:2,complete",
    codec: Annotated[str, _flag("--codec", "Codecs to compare.")] = "float32,lattice:8,lattice:4",
    every: Annotated[str, _flag("--every", "Local steps between exchanges to compare, in steps.")] = "1,5,20",
    bandwidth: Annotated[
        str | None,
        _flag("--bandwidth", f"Of the link, each way: 100mbit or 12mb a second; {BANDWIDTH} by default."),
    ] = None,
    latency: Annotated[str | None, _flag("--latency", f"Of the link, one way: 25ms; {LATENCY} by default.")] = None,
    epsilon: Annotated[
        float, _flag("--epsilon", "Share of the squared consensus distance at which they agree.")
    ] = 1e-3,
    alpha: Annotated[float, _flag("--alpha", "How much of itself an agent keeps in an exchange.")] = 0.5,
    local: Annotated[bool, _flag("--local", "For agents that all run on this machine, as of `agent launch`.")] = False,
    waits: Annotated[bool, _flag("--waits", "For agents that wait for each exchange, as with --overlap no.")] = False,
    timeout: Timeout = 5.0,
    as_json: Json = False,
) -> int:
    """Measure a local step and exchanges on this machine, and say what a swarm of such machines would take.

    With --join the link to that agent is measured; --bandwidth and --latency, where given, take precedence.
    """
    if not learning.task:
        raise SettingsError("--task is missing: name a built-in task or a task file, such as --task digits")
    counts = [_number("--agents", text) for text in agents.split(",")]
    periods = [_period(text) for text in every.split(",")]
    topologies, codecs = topology.split(","), codec.split(",")
    for each in topologies:
        check_topology(each)
    for each in codecs:
        check_codec(each)
    if not 0 < epsilon < 1 or not 0 < alpha < 1:
        raise SettingsError(f"--epsilon and --alpha lie between 0 and 1: got {epsilon:g} and {alpha:g}")
    if local and (bandwidth or latency):
        raise SettingsError("--bandwidth and --latency are of a link between machines: leave them out with --local")
    link, source = (LOOPBACK_S, LOOPBACK), ""
    if not local:
        trip_s = 2 * _seconds(latency) if latency else None
        link, source = _link(trip_s, _bandwidth(bandwidth) if bandwidth else None, join, securing, timeout)
    costs, samples, parameters = _measured(learning, counts, codecs, link, local, waits or local)
    rows, without = list[Row](), list[str]()
    for choice in choices(counts, topologies, codecs, periods, samples):
        try:
            rows.append(planned(choice, costs, epsilon, alpha))
        except (TopologyError, ValueError) as error:
            without.append(f"{choice.topology} of {choice.agents}: {error}")
    if not rows:
        raise SettingsError(f"none of these can be: {without[0]}")
    found = best(rows)
    if as_json:
        low, step, high = costs.step
        measured: dict[str, Any] = {"parameters": parameters, "step_s": step, "step_s_from": low, "step_s_to": high}
        measured |= {"round_trip_s": costs.round_trip_s, "bandwidth": costs.bandwidth}
        measured |= {"exchanges": {codec: each._asdict() for codec, each in costs.exchanges.items()}}
        shown = {
            "measured": measured,
            "assumptions": assumptions(costs, epsilon, source),
            "without": sorted(set(without)),
        }
        print(json.dumps(shown | {"rows": [row.plain() for row in rows], "recommended": found.plain()}))
        return 0
    command = _command(found, learning, alpha, waits, local)
    console = printing()
    _show(console, learning.task, costs, parameters, rows, found, command)
    short = [f"{SHORT} too few steps to agree in: fewer than {TIMES_TO_AGREE} times so many rounds"]
    explained = short if any(not row.agrees for row in _shown(rows, found)) else []
    for line in (*explained, *assumptions(costs, epsilon, source), *sorted(set(without))):
        console.print(f"- {line}", soft_wrap=True)
    return 0


def _link(
    round_trip_s: float | None, bandwidth: float | None, join: Sequence[str], securing: Securing, timeout_s: float
) -> tuple[tuple[float, float], str]:
    """Round trip and bandwidth of the link between two agents, as given, else as measured to an agent at `join`.

    Also what of them was measured, in words. Raises Unreachable, SettingsError.
    """
    if not join or (round_trip_s and bandwidth):
        return (round_trip_s or 2 * _seconds(LATENCY), bandwidth or _bandwidth(BANDWIDTH)), ""
    from agents.observe.contacts import reached  # With what else looks at swarms, where there is one.
    from agents.observe.observer import observing
    from agents.securing import credentials

    ours = credentials(securing, join, agent=False)
    print("measuring the link ...", file=sys.stderr)
    with observing(join, timeout_s, ours) as (observer, welcome):
        member = next(each for each in observer.alive() if each.agent == welcome.agent)
        address = observer.reached_at(member.agent) or str(member.address)
    found = reached(member, address, ours, timeout_s)
    if not (trip_s := round_trip_s or found.round_trip_s):
        raise SettingsError(f"{address} answers no messages after the handshake: give --latency, or join another agent")
    if not (rate := bandwidth or found.bandwidth):
        raise SettingsError(f"the bandwidth to {address} can't be measured ({found.why}): give --bandwidth")
    measured = [name for name, given in (("latency", round_trip_s), ("bandwidth", bandwidth)) if not given]
    return (trip_s, rate), f"; {' and '.join(measured)} measured to {address}"


def _show(
    console: Console, task: str, costs: Costs, parameters: int, rows: Sequence[Row], found: Row, command: str
) -> None:
    """What was measured, the table, and what to do."""
    low, step, high = (f"{1e3 * each:.3g}" for each in costs.step)
    console.print(
        f"{task}: {parameters} parameters, {4e-6 * parameters:.2f} MB; a local step takes {step} ms here ({low}-{high})"
    )
    for codec, each in costs.exchanges.items():
        work_ms = 1e3 * each.work_s
        console.print(f"an exchange in {codec}: {1e-6 * each.bytes:.3g} MB and {work_ms:.2g} ms of work a side")
    console.print(_table(rows, found))
    if not found.agrees:
        console.print(
            f"none has time to agree: the nearest trains for {_time(found.train)} and needs {TIMES_TO_AGREE} times "
            f"{_time(found.agree)}; give more --steps, fewer agents or a faster link",
            style="yellow",
            soft_wrap=True,
        )
    console.print(f"{'recommended' if found.agrees else 'nearest'}, {command}", soft_wrap=True)


def _measured(
    learning: Learning,
    counts: Sequence[int],
    codecs: Sequence[str],
    link: tuple[float, float],
    local: bool,
    waits: bool,
) -> tuple[Costs, int, int]:
    """The costs, the local steps that one agent alone would take, and the model's parameters."""
    if local:
        os.environ.update({name: value for name, value in budget(max(counts)).items() if not name.startswith("XLA_")})
    from agents.measuring import exchange, local_step  # JAX, once its threads are set.
    from agents.prepare import prepare

    print("measuring a local step and exchanges ...", file=sys.stderr)
    logging.getLogger("gossamer").setLevel(logging.WARNING)  # Of the peers that come and go.
    prepared: Prepared = prepare(learning, Shard(0, 1))
    exchanges = {codec: exchange(prepared, codec) for codec in codecs}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    step = local_step(prepared)
    if local:  # Where all cores work each does so more slowly, in exchanges as in steps.
        alone, step = step, local_step(prepared, busy=min(cores, max(counts)))
        step, slower = step._replace(low=min(alone.low, step.low)), max(1.0, step.likely / alone.likely)
        exchanges = {codec: each._replace(work_s=each.work_s * slower) for codec, each in exchanges.items()}
    costs = Costs(step, exchanges, *link, cores if local else None, waits)
    return costs, prepared.steps, prepared.learner.size


def _table(rows: Sequence[Row], found: Row) -> Fitted:
    """Of each number of agents and topology the best codec and period, the recommended one marked."""
    lines = []
    for row in _shown(rows, found):
        rounds = f"{row.rounds:.0f}{SHORT * (not row.agrees)}" if math.isfinite(row.rounds) else "never"
        sent, waits = f"{1e-6 * row.bytes:.2g}" if row.bytes < 1e8 else f"{1e-6 * row.bytes:.0f}", f"{row.waiting:.0%}"
        n, topology, codec, every, _ = row.choice
        cells = (str(n), topology, codec, str(every), rounds, _time(row.agree), sent, waits, _time(row.train, True))
        lines.append((cells, "bold green" if row is found else "" if row.agrees else "dim"))
    columns: dict[str, Literal["left", "right"]] = dict.fromkeys(("n", "topology", "codec"), "left")
    columns |= dict.fromkeys(("every", "rounds", "agree", "MB", "wait", "train"), "right")
    return Fitted(columns, lines, ("wait", "rounds", "agree", "MB"), ("topology", "codec"))


def _shown(rows: Sequence[Row], found: Row) -> list[Row]:
    """Of each number of agents and topology the best row, in the order of `rows`; of many those that train soonest."""
    alike: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.choice.agents, row.choice.topology), []).append(row)
    chosen = [found if found in some else best(some) for some in alike.values()]
    soonest = sorted(chosen, key=lambda row: (row is not found, not row.agrees, row.train.likely))[:SHOWN]
    return [row for row in chosen if row in soonest]


def _time(span: Span, whole: bool = False) -> str:
    """A time in a unit that is easy to read. whole: and between which it should lie."""
    if not math.isfinite(span.likely):
        return "never"
    unit, name = next(each for each in TIMES if span.likely >= each[0])
    low, likely, high = (f"{each:.0f}" if each >= 100 else f"{each:.3g}" for each in span.times(1 / (unit or 1e-3)))
    return f"{likely} {name} ({low}-{high})" if whole else f"{likely} {name}"


def _command(row: Row, learning: Learning, alpha: float, waits: bool, local: bool) -> str:
    """Where to run this row, and on a line of its own its command: with all that was given of what is learned."""
    choice = row.choice
    learned = shlex.join([*as_flags(learning, without={"steps", "epochs"}), f"--steps={choice.steps}"])
    if choice.agents == 1:
        return f"on one machine:\nagent run {learned}"
    each = f"{learned} --topology={choice.topology} --codec={choice.codec} --every={choice.every}steps"
    each += f" --alpha={alpha!r}" if alpha != settings.Gossiping.alpha else ""
    if local:
        return f"on this machine:\nagent launch -n {choice.agents} {each}"
    each += " --overlap=no" if waits else ""
    numbers = ", 1" if choice.agents == 2 else f" to {choice.agents - 1}"
    others = "; all but the first with --join, and all with a --secret of yours"
    run = f"agent run --shard=0/{choice.agents} --wait-for={choice.agents}"
    return f"on {choice.agents} machines, each with its own shard, 0{numbers}{others}:\n{run} {each}"


def _number(flag: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise SettingsError(f"{flag} is whole numbers from 1 with commas between, such as 2,4,8: got {text!r}")
    return int(text)


def _period(text: str) -> int:
    return _number("--every", text) if text.strip().isdecimal() else Every.parse(text).steps or _number("--every", text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?(ms|s)", text.strip())
    if not match:
        raise SettingsError(f"--latency is a time such as 25ms or 0.1s: got {text!r}")
    return float(match[1]) * (1e-3 if match[2] == "ms" else 1.0)


def _bandwidth(text: str) -> float:
    """Bytes a second."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?([a-z]+?)(?:/s|ps)?", text.strip().lower())
    if not match or match[2] not in UNITS or not float(match[1]) > 0:
        raise SettingsError(f"--bandwidth is such as 100mbit, 1gbit or 12mb (bytes) a second: got {text!r}")
    return float(match[1]) * UNITS[match[2]]
