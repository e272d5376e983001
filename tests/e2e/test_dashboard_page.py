"""The dashboard in a real browser: shows all agents without an error, grays one that is killed, and costs nobody."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.dashboard import app
from agents.dashboard.serving import serve
from agents.dashboard.story import Story
from docs.browser import CHROMIUM, Browser
from tests.agents.dashboard.scenes import scenes
from tests.agents.live_swarm import LiveSwarm

ROOT = Path(__file__).parents[2]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

NODES = "[...document.querySelectorAll('#graph .node')]"
HIDDEN = (
    "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {0} }});"
    "document.dispatchEvent(new Event('visibilitychange'))"
)
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def exchange(swarm: LiveSwarm, round: int) -> None:
    """Each agent begins an exchange, and waits for its end."""
    swarm.ask(round)
    assert swarm.wait(round, 30), "an exchange on loopback takes milliseconds"


class Dashboard:
    """`agent dashboard` as a process. url: where its page is."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "agents.command.cli", "dashboard", *arguments, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.said = self.process.stderr.readline()
        found = re.search(r"http://\S+", self.said)
        assert found, self.said + self.process.stderr.read()
        self.url = found[0]

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@needs_chromium
def test_a_live_swarm_is_seen_and_a_killed_agent_turns_gray_and_a_hung_watcher_costs_nothing(tmp_path):
    thetas = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)
    with ExitStack() as stack:
        swarm = LiveSwarm(stack, thetas, [1, 1, 1, 1], topology="ring")
        dashboard = stack.enter_context(Dashboard("--join", swarm.networks[0].view().me.address))
        page = stack.enter_context(Browser())
        page.open(dashboard.url)
        page.wait_for(f"{NODES}.length === 4 && {NODES}.every(node => node.dataset.state === 'training')")
        rounds = itertools.count(1)
        while not page.evaluate("document.querySelectorAll('#graph .spark').length"):
            exchange(swarm, next(rounds))
        assert page.evaluate("document.querySelectorAll('#table tbody tr').length") == 4
        assert page.evaluate("document.querySelectorAll('#graph .edge').length") in (1, 2, 3, 4)

        swarm.crash(2)
        page.wait_for("document.querySelector('#graph .node[data-agent=agent-2]').dataset.state === 'dead'")
        fill = "getComputedStyle(document.querySelector('.node[data-agent=agent-{}] circle:not(.ring)')).fill"
        gray = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--gone').trim()")
        red, green, blue = (int(gray[at : at + 2], 16) for at in (1, 3, 5))
        assert page.evaluate(fill.format(2)) == f"rgb({red}, {green}, {blue})" != page.evaluate(fill.format(1))
        assert "agent-2" in page.evaluate("document.querySelector('#alarms').innerText")
        page.picture(tmp_path / "dashboard.png")
        assert (tmp_path / "dashboard.png").stat().st_size > 10_000
        assert page.errors == []

        os.kill(dashboard.process.pid, signal.SIGSTOP)
        del swarm.networks[2]
        done = swarm.exchanges
        while swarm.exchanges < done + 200:
            exchange(swarm, next(rounds))
        os.kill(dashboard.process.pid, signal.SIGKILL)
        exchange(swarm, next(rounds))


@needs_chromium
def test_64_agents_whatever_they_are_called_fit_a_desk_and_a_phone():
    evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    last = list(scenes(64, 8, dead=frozenset({7})))
    over = threading.Event()

    class Source:
        """Shows them one after the other, and the last again, until the test is over."""

        def look(self):
            scene = last.pop(0) if len(last) > 1 else last[0]
            agents = scene.snapshot.agents
            named = (replace(agents[0], agent=evil), *agents[1:])
            if over.is_set():
                raise Over
            return replace(scene, snapshot=replace(scene.snapshot, agents=named, run=evil))

        def close(self) -> None:
            """Nothing is open."""

    class Over(Exception):
        """The test is."""

    def run() -> None:
        with pytest.raises(Over):
            serve(Source(), Story(evil, evil), listening, "127.0.0.1")

    with socket.create_server(("127.0.0.1", 0)) as listening, Browser() as page:
        serving = threading.Thread(target=run)
        serving.start()
        try:
            page.open(f"http://127.0.0.1:{listening.getsockname()[1]}")
            page.wait_for(f"{NODES}.length === 64 && {NODES}.some(node => node.dataset.state === 'dead')")
            assert evil[:30] in page.evaluate("document.title")
            assert page.evaluate("document.querySelector('#table').innerText.includes('<script>')")
            assert page.evaluate("window.hacked === undefined && !document.querySelector('img[src=x]')")
            for card in ("graph", "distance", "loss", "score", "map", "layers", "bytes"):
                assert page.evaluate(f"document.querySelector('#{card} svg').childElementCount") > 3, card
            for width, dark in ((1280, False), (390, True)):
                page.resize(width, 800, dark)
                page.wait_for(f"innerWidth === {width}")
                assert not page.evaluate(SIDEWAYS), width
            unknown = replace(last[-1].snapshot, consensus_distance=None)
            last.append(replace(last[-1], ended=True, snapshot=unknown))
            page.wait_for("document.querySelector('#tiles').innerText.includes('when last known')")
            assert page.errors == []
        finally:
            over.set()
            serving.join()


class Still:
    """A swarm that stands still, looked at until `over`."""

    class Over(Exception):
        """The test is."""

    def __init__(self, listening: socket.socket) -> None:
        self.over, self._scene = threading.Event(), next(scenes(2, 1))
        self._thread = threading.Thread(target=self._serve, args=(listening,))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def look(self):
        if self.over.is_set():
            raise Still.Over
        return self._scene

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> "Still":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    def _serve(self, listening: socket.socket) -> None:
        with pytest.raises(Still.Over):
            serve(self, Story("run", "here"), listening, "127.0.0.1")


@needs_chromium
def test_numbers_are_as_people_read_them_whatever_their_size_and_digits():
    shown = {
        (290, 2): "290", (290.4, 2): "290", (96, 1): "100", (999.7, 3): "1,000", (1234.5, 2): "1,235", (0, 3): "0",
        (0.5, 3): "0.5", (0.0012345, 3): "0.00123", (1e-5, 3): "10⁻⁵", (9.996e-5, 3): "10⁻⁴",
        (-0.99996e-8, 2): "-1·10⁻⁸", (2.5e7, 3): "2.5·10⁷", (9.9999e6, 3): "9,999,900", (-290, 2): "-290",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening, Still(listening) as swarm, Browser() as page:
        page.open(swarm.url)
        page.wait_for(f"{NODES}.length === 2")
        for (value, digits), text in shown.items():
            ask = f"import('/page/draw.js').then(draw => draw.number({value}, {digits}))"
            assert page.evaluate(ask) == text, (value, digits)


@needs_chromium
def test_a_page_too_many_says_so_until_another_is_closed_or_hidden(monkeypatch):
    monkeypatch.setattr(app, "PAGES", 1)
    status = "document.querySelector('#status .text')?.textContent"
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        swarm = stack.enter_context(Still(listening))
        first, page = stack.enter_context(Browser()), stack.enter_context(Browser())
        first.open(swarm.url)
        first.wait_for(f"{status} === 'live'")
        page.open(swarm.url)
        page.wait_for(f"{status} === 'too many pages are open'")
        first.evaluate(HIDDEN.format("true"))
        page.wait_for(f"{status} === 'live'")
        first.evaluate(HIDDEN.format("false"))
        first.wait_for(f"{status} === 'too many pages are open'")
        page.open("about:blank")
        first.wait_for(f"{status} === 'live'")
