"""Draws the README's pictures: a launched swarm at half time, and the same training simulated over four topologies.

python docs/pictures.py
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from agents.command.tables import members_table
from agents.observe.observer import observing
from sim import plots, sweep

AGENTS = 4
COMMAND = ["launch", "-n", str(AGENTS), "--task", "fashion-mnist", "--partition", "dirichlet:0.3", "--steps", "1200"]


def main() -> None:
    """Both."""
    launched_swarm()
    topologies()


def topologies() -> None:
    """Non-iid digits over four topologies, as the first notebook has it."""
    names = ["ring", "torus", "exponential", "complete"]
    runs = sweep("digits", seeds=[0], topology=names, agents=16, partition="dirichlet:0.1", rounds=300)
    axes = plots.compare({name: runs[name, 0] for name in names})
    axes[0].figure.savefig(Path(__file__).with_name("topologies.svg"), metadata={"Date": None})


def launched_swarm() -> None:
    """Run it for real, look at it half way through, and save what a terminal would show."""
    console = Console(record=True, width=96, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print("$ agent " + " ".join(COMMAND), style="bold")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        launched = subprocess.Popen([sys.executable, "-m", "agents.command.cli", *COMMAND, "--run-dir", str(run)])
        address = run / "agents" / "agent-0" / "agent.json"
        while not address.exists() or not address.read_text():
            time.sleep(0.05)
        with observing([json.loads(address.read_text())["address"]], 30) as (observer, _):
            while len(observer.alive()) < AGENTS or min(member.step for member in observer.alive()) < 600:
                observer.refresh()
                time.sleep(0.05)
            console.print(members_table(f"{AGENTS} of {AGENTS} agents", observer.alive()))
        launched.wait()
        report = json.loads((run / "report.json").read_text())
    merged = report["consensus"]
    console.print(
        f"\n{len(merged['agents'])} agents, {report['seconds']:.1f} s; consensus distance {merged['distance']:.4g}"
    )
    console.print(
        f"accuracy: mean of agents {report['mean_accuracy']:.4f}, best agent {report['best_accuracy']:.4f}, "
        f"[bold]merged {merged['accuracy']:.4f}[/]"
    )
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # no fonts from elsewhere
    svg = console.export_svg(title="agent launch", code_format=plain.replace("Fira Code, monospace", "monospace"))
    Path(__file__).with_name("launch.svg").write_text(svg)


if __name__ == "__main__":
    main()
