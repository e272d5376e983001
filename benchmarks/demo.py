"""`make demo`: four agents train on scikit-learn's digits, each on a quarter of them; then one model on all of them.

The one model takes as many steps with a four times larger batch: it sees the same samples. Both accuracies are printed.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

AGENTS, BATCH, EPOCHS = 4, 32, 60


def agent(*arguments: str) -> dict:
    """One `agent` command; its JSON."""
    command = [sys.executable, "-m", "agents.command.cli", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


folder = Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
print(f"{AGENTS} agents, each with its quarter of the digits, no server:", flush=True)
swarm = agent("launch", "-n", str(AGENTS), "--task", "digits", "--epochs", str(EPOCHS), "--run-dir", f"{folder}/swarm")
steps = swarm["agents"][0]["steps"]
print(f"one model on all the digits, {steps} steps of batch {AGENTS * BATCH}:", flush=True)
pooled = ("--batch-size", str(AGENTS * BATCH), "--steps", str(steps), "--listen", "tcp://127.0.0.1:0")
central = agent("run", "--task", "digits", *pooled, "--run-dir", f"{folder}/pooled")

merged, one = swarm["consensus"]["accuracy"], central["metrics"]["accuracy"]
print()
print(f"consensus of {AGENTS} agents   accuracy {merged:.4f}   ({swarm['seconds']:.1f} s)")
print(f"one pooled model        accuracy {one:.4f}")
print(f"difference              {100 * (merged - one):+.2f} points")
