"""How a run of one agent ended, as `agent run --json` reports it."""

from dataclasses import dataclass
from pathlib import Path

from agents.peer import Peer
from agents.privacy_ledger import PrivacyLedger


@dataclass(frozen=True)
class Report:
    """How a run of one agent ended. Times in seconds; loss: of the last local step; metrics: on the test data.

    skipped: boundaries that began no exchange, as the one before was still under way.
    epsilon_spent, delta: of its privacy budget, None without --dp. lost: chunks that one side alone may have applied,
    as the agent of the other one is over or gone.
    """

    agent: str
    run: str
    run_dir: str
    address: str
    steps: int
    exchanges: int
    skipped: int
    bytes_sent: int
    lost: int
    loss: float
    metrics: dict[str, float]
    train_s: float
    seconds: float
    epsilon_spent: float | None = None
    delta: float | None = None


def report_of(
    peer: Peer,
    run_dir: Path,
    address: str,
    loss: float,
    metrics: dict[str, float],
    train_s: float,
    seconds: float,
    ledger: PrivacyLedger | None,
) -> Report:
    """What a peer has done until now."""
    view = peer.view()
    report = view.me.report
    made = report.exchanges, view.skipped, report.bytes_sent, report.lost
    spent = (ledger.epsilon_spent, ledger.delta) if ledger else ()
    return Report(
        *(peer.name, view.run, str(run_dir), address, peer.step, *made, loss, metrics, train_s, seconds), *spent
    )
