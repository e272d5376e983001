"""Draws the pictures of the README and the site: a launched swarm, `agent top`, a dashboard, topologies, notebooks.

python docs/pictures.py [launch] [top] [dashboard] [topologies] [notebooks]
"""

import asyncio
import base64
import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import Browser
from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from agents.command.tables import members_table
from agents.command.top_screen import EVERY_S, TopScreen
from agents.observe.card import Consensus
from agents.observe.observer import observing
from agents.observe.snapshot import Snapshot, snapshot
from agents.observe.watching import Watching, watching
from sim import plots, sweep
from transport.messages import Welcome

AGENTS = 4
COMMAND = ["launch", "-n", str(AGENTS), "--task", "fashion-mnist", "--partition", "dirichlet:0.3", "--steps", "1200"]
SKEWED, OFTEN = ["--partition", "dirichlet:0.1"], ["--every", "20steps", "--steps", "48000"]
WATCHED = ["launch", "-n", "8", "--task", "digits", *SKEWED, *OFTEN, "--topology", "exponential"]
PROGRAM, HERE = [sys.executable, "-m", "agents.command.cli"], Path(__file__).parent
FIGURES = {
    "01_first_swarm": 0,
    "02_topologies_against_theory": 0,
    "03_when_the_world_is_rough": 0,
    "04_a_real_swarm": 0,
    "05_how_many_agents": -1,
}
"""Of each notebook, which of its figures."""

LOOKS = 12
"""Of `agent top` at the swarm before one of its agents is killed."""

WIDTH = 80
"""Columns of the terminal: what the command takes."""

TEXT = re.compile(r'(<text class="[^"]*-r\d+" x=")([\d.]+)(" y="[\d.]+" textLength=")([\d.]+)("[^>]*>)([^<]*)</text>')
"""What rich writes of a line in one style."""


def main() -> None:
    """Those that are named, all by default."""
    drawn = {"launch": launched_swarm, "top": top, "dashboard": dashboards, "topologies": topologies}
    drawn["notebooks"] = notebooks
    for name in sys.argv[1:] or drawn:
        drawn[name]()


def topologies() -> None:
    """Non-iid digits over four topologies, as the first notebook has it."""
    names = ["ring", "torus", "exponential", "complete"]
    runs = sweep("digits", seeds=[0], topology=names, agents=16, partition="dirichlet:0.1", rounds=300)
    axes = plots.compare({name: runs[name, 0] for name in names})
    axes[0].figure.savefig(HERE / "topologies.svg", metadata={"Date": None})


def notebooks() -> None:
    """One figure of each notebook, as its outputs hold it."""
    for name, number in FIGURES.items():
        cells = json.loads((HERE.parent / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
        drawn = [base64.b64decode(output["image/png"]) for output in outputs if "image/png" in output]
        small(Image.open(io.BytesIO(drawn[number])), HERE / f"notebook-{name[:2]}.png")


def small(picture: Image.Image, file: Path) -> None:
    """Save a picture in 200 colors."""
    picture.convert("RGB").quantize(200).save(file, optimize=True)


def top() -> None:
    """The screen of `agent top` beside eight agents, one of which is killed."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "digits")
        launched = subprocess.Popen([*PROGRAM, *WATCHED, "--run-dir", str(run)], stdout=subprocess.DEVNULL)
        try:
            with watching([first_address(run)], 60, None) as (watch, welcome):
                while len(watch.observer.alive()) < 8 or not all(each.report.step for each in watch.observer.alive()):
                    watch.look()
                victim = json.loads((run / "agents" / "agent-7" / "agent.json").read_text())["pid"]
                svg = asyncio.run(live_screen(watch, welcome, victim))
        finally:
            launched.terminate()
            launched.wait()
    font = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    (HERE / "top.svg").write_text(TEXT.sub(without_outer_spaces, font))


async def live_screen(watch: Watching, welcome: Welcome, killed: int) -> str:
    """The screen as SVG, once training is under way and the process of this number has been killed and found dead."""
    seen: list[Snapshot] = []

    def look() -> Snapshot:  # In the screen's own thread, which alone uses the watch from here on.
        watch.look()
        seen.append(snapshot(watch, welcome))
        return seen[-1]

    screen = TopScreen(look)
    async with screen.run_test(size=(120, 34)) as pilot:
        while len(seen) < LOOKS:
            await pilot.pause(EVERY_S)
        os.kill(killed, signal.SIGKILL)
        while "dead" not in {each.state for each in seen[-1].agents}:
            await pilot.pause(EVERY_S)
        await pilot.pause(3 * EVERY_S)
        shot = screen.export_screenshot(title="agent top")
    await asyncio.to_thread(screen.end)
    return shot


def dashboards() -> None:
    """What `agent dashboard` shows of eight agents at two thirds of their training, light and dark."""
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        run = Path(folder, "digits")
        launched = subprocess.Popen([*PROGRAM, *WATCHED, "--run-dir", str(run)])
        watching = [*PROGRAM, "dashboard", "--join", first_address(run), "--timeout", "60", "--models", "2"]
        shown = subprocess.Popen([*watching, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        try:
            assert shown.stderr is not None
            browser.open(next(url[0] for line in shown.stderr if (url := re.search(r"http://\S+", line))))
            browser.wait_for(
                "document.querySelector('#layers svg') && document.body.dataset.step > 15000", timeout_s=600
            )
            for scheme in ("light", "dark"):
                browser.resize(1280, 800, dark=scheme == "dark")
                browser.wait_for("new Promise(done => setTimeout(() => done(true), 1500))")
                file = HERE / f"dashboard-{scheme}.png"
                browser.picture(file, whole=True)
                small(Image.open(file), file)
        finally:
            shown.terminate()
            shown.wait()
            launched.terminate()
            launched.wait()


def first_address(run: Path) -> str:
    """Of a launched swarm, once its first agent listens."""
    file = run / "agents" / "agent-0" / "agent.json"
    while not file.exists() or not file.read_text():
        time.sleep(0.05)
    return str(json.loads(file.read_text())["address"])


def launched_swarm() -> None:
    """Run it for real, look at it half way through, and save what a terminal would show."""
    console = Console(record=True, width=WIDTH, highlight=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print("$ agent " + " ".join(COMMAND), style="bold")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        launched = subprocess.Popen([*PROGRAM, *COMMAND, "--run-dir", str(run)])
        with observing([first_address(run)], 30) as (observer, _):
            while len(observer.alive()) < AGENTS or min(member.report.step for member in observer.alive()) < 600:
                observer.refresh()
                time.sleep(0.05)
            console.print(members_table(f"{AGENTS} of {AGENTS} agents", observer.alive()))
        launched.wait()
        card = Consensus(**json.loads((run / "consensus.json").read_text()))
    console.print("", *card.lines(), "", sep="\n")  # a last line is cut below its letters
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # no fonts from elsewhere
    svg = console.export_svg(title="agent launch", code_format=plain.replace("Fira Code, monospace", "monospace"))
    (HERE / "launch.svg").write_text(TEXT.sub(without_outer_spaces, svg))


def without_outer_spaces(text: re.Match[str]) -> str:
    """A text that begins where its first letter stands: some programs drop the spaces around it, and move it."""
    opening, x, middle, length, closing, shown = text.groups()
    cells = shown.replace("&#160;", "\N{NO-BREAK SPACE}")
    count = len(html.unescape(cells))
    if not cells.strip():
        return ""
    cell = float(length) / count
    before, kept = count - len(html.unescape(cells.lstrip())), len(html.unescape(cells.strip()))
    x, length = f"{float(x) + before * cell:.1f}", f"{kept * cell:.1f}"
    return f"{opening}{x}{middle}{length}{closing}{cells.strip()}</text>".replace("\N{NO-BREAK SPACE}", "&#160;")


if __name__ == "__main__":
    main()
