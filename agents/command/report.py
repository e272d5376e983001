"""The report of a launch: each agent's figures, and those of the consensus model."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
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
                "loss": metrics.get("loss"),
                "accuracy": metrics.get("accuracy"),
                "metrics": metrics,
                "pid": process.pid,
            }
        )
    names = ("agents", "missing", "accuracy", "loss", "metrics", "distance", "path")
    return {
        "run_dir": str(folder),
        "seconds": round(seconds, 3),
        "agents": agents,
        "mean_accuracy": card["mean_accuracy"],
        "best_accuracy": card["best_accuracy"],
        "consensus": {name: card[name] for name in names},
    }


def lines(report: dict[str, Any]) -> Iterator[str]:
    """For people: who is in, then a line for every metric of the task, accuracy first."""
    merged = report["consensus"]
    missing = f", missing: {', '.join(merged['missing'])}" if merged["missing"] else ""
    yield (
        f"{len(merged['agents'])} agents{missing}, {report['seconds']:.1f} s, "
        f"consensus distance {merged['distance']:.4g}; files in {report['run_dir']}"
    )
    metrics = merged["metrics"]
    for name in sorted(metrics, key=lambda name: (name != "accuracy", name)):
        values = [agent["metrics"][name] for agent in report["agents"] if name in agent["metrics"]]
        best = f"best agent {report['best_accuracy']:.4f}, " if name == "accuracy" else ""
        mean = f"mean of agents {fmean(values):.4f}, " if values else ""
        yield f"{name}: {mean}{best}merged {metrics[name]:.4f}"
