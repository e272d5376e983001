"""The report of a launch: each agent's figures, and those of the consensus model."""

from pathlib import Path
from statistics import fmean
from typing import Any

from agents.command.supervise import Swarm

OF_TEST = "test_"
"""What a line of metrics has before the names of those on test data."""


def own_metrics(last: dict[str, Any]) -> dict[str, Any]:
    """What an agent measured of its own model at the end: it alone can, where parameters stay with it.

    last: its last line of metrics.
    """
    return {name.removeprefix(OF_TEST): value for name, value in last.items() if name.startswith(OF_TEST)}


def report_of(folder: Path, seconds: float, swarm: Swarm, card: dict[str, Any]) -> dict[str, Any]:
    """As plain data. card: what `agent consensus` wrote beside the model."""
    agents = []
    for process in swarm.processes:
        last, metrics = process.last_measure(), card["metrics_of"].get(process.name, {})
        if card["own"] and not metrics:
            metrics = own_metrics(last)
        agents.append(
            {
                "agent": process.name,
                "steps": last.get("step", 0),
                "exchanges": last.get("exchanges", 0),
                "bytes_sent": last.get("bytes_sent", 0),
                "lost": last.get("lost", 0),
                "loss": metrics.get("loss"),
                "accuracy": metrics.get("accuracy"),
                "metrics": metrics,
                "pid": process.pid,
            }
        )
    accuracies = [agent["accuracy"] for agent in agents if agent["accuracy"] is not None]
    names = (
        "agents",
        "missing",
        "missing_data",
        "accuracy",
        "loss",
        "metrics",
        "distance",
        "path",
        "submodel",
        "subnetworks",
    )
    return {
        "run_dir": str(folder),
        "seconds": round(seconds, 3),
        "agents": agents,
        "lost": sum(agent["lost"] for agent in agents),
        "mean_accuracy": card["mean_accuracy"] or (fmean(accuracies) if accuracies else None),
        "best_accuracy": card["best_accuracy"] or max(accuracies, default=None),
        "consensus": {name: card[name] for name in names},
    }
