"""The report of a launch: each agent's figures, and those of the consensus model."""

from pathlib import Path
from typing import Any

from agents.command.supervise import Swarm


def report_of(folder: Path, seconds: float, swarm: Swarm, card: dict[str, Any]) -> dict[str, Any]:
    """As plain data. card: what `agent consensus` wrote beside the model."""
    agents = []
    for process in swarm.processes:
        last, metrics = process.last_measure(), card["metrics_of"].get(process.name, {})
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
    names = ("agents", "missing", "accuracy", "loss", "metrics", "distance", "path", "submodel", "subnetworks")
    return {
        "run_dir": str(folder),
        "seconds": round(seconds, 3),
        "agents": agents,
        "lost": sum(agent["lost"] for agent in agents),
        "mean_accuracy": card["mean_accuracy"],
        "best_accuracy": card["best_accuracy"],
        "consensus": {name: card[name] for name in names},
    }
