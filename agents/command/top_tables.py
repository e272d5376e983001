"""What `agent top` shows of a swarm, as tables that fit into a terminal: the live screen and --once show the same."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agents.command.fitted import ENDLESS, fitting
from agents.command.tables import LONG, STYLES, WORDS, shown_age, shown_number, shown_text
from agents.observe.seen import DEAD, DIVERGED, FAR_AWAY, STALLED, AgentSeen, Alarm, Snapshot

COLORS = {**STYLES, "stalled": "red", "silent": "yellow", "dead": "red", "left": "dim"}
GRAVE = {DEAD: "bold red", STALLED: "red", FAR_AWAY: "red", DIVERGED: "red"}

BARS = "▁▂▃▄▅▆▇█"

MOST_SPARKS = 30
"""Of a course, the last so many."""

SHOWN_LAYERS = 12
"""Parameters in which agents are furthest apart that are shown, at most."""

BAR = 8
"""Characters of the longest bar."""

NARROW = ("agent", "state", "step", "steps/s", "loss", "to mean", "age")
FULL = (*NARROW, "waited", "exchanges", "declined", "failed", "MB out", "codec")
LEAVE = ("to mean", "age", "steps/s", "loss", "state")
"""What a terminal does without that is too narrow for NARROW, the first first."""

GAP = 2
"""Spaces between two columns."""

LAYER, LINK = 48, 44
"""Characters for which a parameter or a link that stands beside another has room, at least."""


def view(seen: Snapshot, width: int) -> Group:
    """All of it, one below the other. width: of the terminal, in characters; ENDLESS where there is none."""
    parts: list[Text | Table] = [
        headline(seen),
        distance_line(seen, [distance for _, distance in seen.course], width),
        agents_table(seen, width),
    ]
    if seen.layers:
        parts.append(layers_table(seen, width))
    if seen.links:
        parts.append(links_table(seen, width))
    return Group(*parts, *alarm_lines(seen.alarms))


def headline(seen: Snapshot) -> Text:
    """The run, and how many agents are in which state."""
    counts = Counter(shown_text(each.state, 12) for each in seen.agents)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nobody is there"
    return Text.assemble((shown_text(seen.run), "bold"), f": {states}; {seen.parameters:,} parameters")


def distance_line(seen: Snapshot, distances: Sequence[float], width: int) -> Text:
    """The consensus distance, by what share it changes in a step and would by exchanges alone, and its course."""
    if seen.consensus_distance is None:
        return Text("consensus distance: not known yet", "dim")
    slope = "" if seen.slope is None else f", {shown_percent(seen.slope)} a step"
    line = Text.assemble("consensus distance ", (f"{seen.consensus_distance:.4g}", "bold"), slope)
    if seen.predicted_slope is not None:
        of_step = " a step" if seen.slope is None else ""
        line.append(f"; exchanges alone: {shown_percent(seen.predicted_slope)}{of_step} or faster")
    if seen.compared < sum(each.alive for each in seen.agents):
        line.append(f" (of {seen.compared} agents)")
    if len(distances) > 1:
        drawn = sparks(distances[-MOST_SPARKS:])
        line.append(("  " if line.cell_len + 2 + len(drawn) <= width else "\n") + drawn)
    return line


def shown_percent(share: float) -> str:
    """A change, in percent with its sign and two digits, and never as a power of ten."""
    percent = 100 * share
    return f"{percent:+.0f}%" if abs(percent) >= 99.5 else f"{percent:+.2g}%"


def shown_rate(rate: float) -> str:
    """How often in a second, with three digits, and never as a power of ten."""
    return f"{rate:.0f}" if rate >= 999.5 else f"{rate:.3g}"


def sparks(values: Sequence[float]) -> str:
    """A bar for each value, the largest the highest."""
    most = max(values)
    return "".join(BARS[round((len(BARS) - 1) * value / most)] if most > 0 else BARS[0] for value in values)


def columns(seen: Snapshot, width: int) -> list[str]:
    """Which columns of agents fit: all, or those of NARROW that do."""
    rows = [agent_row(each, FULL) for each in seen.agents]
    if len(fitting(FULL, rows, FULL, width, GAP)) == len(FULL):
        return list(FULL)
    return fitting(NARROW, [agent_row(each, NARROW) for each in seen.agents], LEAVE, width, GAP)


def agent_row(each: AgentSeen, names: Iterable[str]) -> list[Text]:
    """An agent's values in these columns, as plain text: markup in it is shown, not interpreted."""
    style = "" if each.alive else "dim"
    known = {
        "agent": Text(shown_text(each.agent), style),
        "state": Text(shown_text(each.state, 12), COLORS.get(each.state, style)),
        "step": Text(f"{each.step}/{each.steps}" if each.steps else str(each.step), style),
        "steps/s": Text("-" if each.steps_s is None else shown_rate(each.steps_s), style),
        "loss": Text("-" if each.loss is None else shown_number(each.loss), style),
        "to mean": Text("-" if each.to_mean is None else f"{each.to_mean:.4g}", style),
        "age": Text(shown_age(each.age_s), style),
        "waited": Text("-" if each.waited is None else f"{100 * each.waited:.0f}%", style),
        "exchanges": Text(str(each.exchanges), style),
        "declined": Text("-" if each.declined is None else str(each.declined), style),
        "failed": Text("-" if each.failed is None else str(each.failed), style),
        "MB out": Text(f"{each.bytes_sent / 1e6:.1f}", style),
        "codec": Text(shown_text(each.codec, 20), style),
    }
    return [known[name] for name in names]


def agents_table(seen: Snapshot, width: int) -> Table:
    """One row an agent."""
    names, table = columns(seen, width), _table()
    for name in names:
        side: Literal["left", "right"] = "left" if name in WORDS else "right"
        table.add_column(name, justify=side, no_wrap=name != "agent", overflow="fold")
    for each in seen.agents:
        table.add_row(*agent_row(each, names))
    return table


def layers_table(seen: Snapshot, width: int) -> Table:
    """The parameters in which neighbors are furthest apart, the farthest first, several beside each other."""
    furthest = sorted(seen.layers.items(), key=lambda layer: -layer[1])[:SHOWN_LAYERS]
    names = [shown_text(name) for name, _ in furthest]
    beside = min(len(furthest), _beside(names, len("apart") + BAR + 2 * GAP + 3, LAYER, width))
    below = -(-len(furthest) // beside)
    table = _table()
    for _ in range(0, len(furthest), below):
        table.add_column("layer", overflow="fold")
        table.add_column("apart", justify="right", no_wrap=True)
        table.add_column(no_wrap=True, width=BAR)
    most = max(furthest[0][1], sys.float_info.min)
    cells = [
        (Text(name), Text(f"{far:.3g}"), Text("█" * round(BAR * far / most), "cyan"))
        for name, (_, far) in zip(names, furthest, strict=True)
    ]
    for row in range(below):
        table.add_row(*(cell for cells_of in cells[row::below] for cell in cells_of))
    return table


def links_table(seen: Snapshot, width: int) -> Table:
    """Who exchanged with whom, how often in a second, and how long ago; several beside each other where they fit."""
    names = [f"{shown_text(a)} - {shown_text(b)}" for a, b in (link.agents for link in seen.links)]
    beside, table = _beside(names, 20, LINK, width), _table()
    for _ in range(beside):
        table.add_column("link", overflow="fold")
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("age", justify="right", no_wrap=True)
    cells = [
        (Text(name), Text(f"{shown_rate(link.rate)}/s"), Text(shown_age(link.age_s)))
        for name, link in zip(names, seen.links, strict=True)
    ]
    for start in range(0, len(cells), beside):
        table.add_row(*(cell for cells_of in cells[start : start + beside] for cell in cells_of))
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")


def _beside(names: Iterable[str], more: int, least: int, width: int) -> int:
    """How many stand beside each other, one in a pipe. more: characters of each besides its name; least: in all."""
    each = max(least, max(map(cell_len, names), default=0) + more + GAP)
    return 1 if width == ENDLESS else max(1, (width + GAP) // each)


def alarm_lines(alarms: Sequence[Alarm]) -> list[Text]:
    """A line for each alarm."""
    return [
        Text(f"{each.kind}: {shown_text(each.agent)}: {shown_text(each.text, LONG)}", GRAVE.get(each.kind, "yellow"))
        for each in alarms
    ]
