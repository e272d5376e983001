"""Members of a swarm as a table for people."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from transport.messages import Member

STYLES = {"joining": "yellow", "ready": "yellow", "training": "cyan", "settling": "green", "left": "dim"}


def members_table(title: str, alive: Iterable[Member], gone: Iterable[Member] = ()) -> Table:
    """One row a member; distance: to the peer of its last exchange, last: that exchange's age."""
    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("agent")
    table.add_column("state")
    for name in ("step", "loss", "exchanges", "MB sent", "distance", "last"):
        table.add_column(name, justify="right")
    for member in alive:
        table.add_row(*_row(member, member.state, STYLES.get(member.state, "")))
    for member in gone:
        table.add_row(*_row(member, "left" if member.state == "left" else "silent", "dim"), style="dim")
    return table


def _row(member: Member, state: str, style: str) -> list[Text | str]:
    """What members say of themselves is text, and no markup of ours."""
    age = member.report.last_exchange_s
    return [
        Text(_short(member.agent)),
        Text(_short(state), style),
        f"{member.report.step}/{member.report.steps}" if member.report.steps else str(member.report.step),
        f"{member.report.loss:.4f}" if member.report.step else "-",
        str(member.report.exchanges),
        f"{member.report.bytes_sent / 1e6:.1f}",
        f"{member.report.distance:.4f}" if member.report.exchanges else "-",
        f"{age:.1f} s" if age >= 0 else "never",
    ]


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
