"""How a run of one agent ended, as `agent run --json` reports it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """How a run of one agent ended. Times in seconds; loss: of the last local step; metrics: on the test data.

    epsilon_spent, delta: of its privacy budget, None without --dp.
    """

    agent: str
    run: str
    run_dir: str
    address: str
    steps: int
    exchanges: int
    bytes_sent: int
    loss: float
    metrics: dict[str, float]
    train_s: float
    seconds: float
    epsilon_spent: float | None = None
    delta: float | None = None
