"""`agent top`: what it shows of a swarm, on the live screen, as one view and as JSON."""

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console

from agents import Peer
from agents.command.cli import run_command
from agents.command.interruption import Interruption
from agents.command.top_screen import HELD, TopScreen, drawing
from agents.command.top_tables import FULL, NARROW, sparks, view
from agents.observe.seen import DEAD, REPORTED, AgentSeen, Alarm, LinkSeen, Snapshot


def agent(name, state="training", alive=True, **fields):
    known = dict.fromkeys(AgentSeen.__dataclass_fields__)
    of_text = {"codec": "float32", "shard": "0/4", "address": "tcp://127.0.0.1:5710"}
    numbers = {"step": 120, "steps": 400, "steps_s": 41.5, "waited": 0.25, "loss": 0.125, "to_mean": 0.0625}
    counted = {"age_s": 0.25, "exchanges": 24, "started": 12, "answered": 12, "declined": 1, "failed": 0}
    return AgentSeen(
        **{**known, **of_text, **numbers, **counted, "bytes_sent": 2_000_000, "x": 0.1, "y": 0.2}
        | {"agent": name, "state": state, "alive": alive, **fields}
    )


def seen(agents=4, distance=0.5):
    living = tuple(agent(f"agent-{number}") for number in range(agents))
    dead = agent("agent-9", "dead", alive=False, age_s=12.0, steps_s=None, to_mean=None, loss=None)
    links = tuple(LinkSeen((f"agent-{k}", f"agent-{k + 1}"), 2.5, 0.125) for k in range(agents - 1))
    alarms = Alarm(DEAD, "agent-9", "silent for 12 s and gone"), Alarm(REPORTED, "agent-1", "[red]agent-2[/red] is far")
    layers = {"embedding/kernel": 0.5, "output/bias": 0.25, "[red]/kernel": 0.0}
    return Snapshot("run", 4810, (*living, dead), distance, agents, -0.01, links, alarms, ((8, 1.0), (16, 0.5)), layers)


NEEDLESS = {
    *("jax", "scipy", "optax", "textual", "rich", "asyncio", "ml_dtypes", "numpy.random"),
    *("agents.mixing.codecs", "agents.observe.assemble", "agents.protocol.events", "agents.tensors"),
}
"""Modules that a look at a swarm as JSON does without: where agents keep processors busy each delays it."""


def modules_of(*arguments):
    """What the command prints, and the modules that it has imported by its end."""
    program = f"import sys; from agents.command.cli import run_command; assert run_command({list(arguments)}) == 0"
    program += "; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout), set(ran.stderr.splitlines()[-1].split())


def lines(snapshot, width):
    shown = io.StringIO()
    Console(file=shown, width=width).print(view(snapshot, width))
    return shown.getvalue().splitlines()


@pytest.mark.parametrize(("width", "columns"), [(80, NARROW), (140, FULL)])
def test_a_view_has_everything_and_fits(width, columns):
    found = lines(seen(), width)
    assert all(len(line) <= width for line in found)
    assert found[0] == "run: 1 dead, 4 training; 4,810 parameters"
    assert found[1] == "consensus distance 0.5, -1% a step  █▅"
    assert [name for name in FULL if name in found[2].replace("steps/s", "")] == [
        name for name in columns if name != "steps/s"
    ]
    assert found[3].split()[:5] == ["agent-0", "training", "120/400", "41.5", "0.1250"]
    (first,) = (line for line in found if "embedding/kernel" in line)
    assert first.split()[:3] == ["embedding/kernel", "0.5", "█" * 8] and any("[red]/kernel" in line for line in found)
    assert any("agent-2 - agent-3" in line and "2.5/s" in line for line in found)
    assert found[-2:] == ["dead: agent-9: silent for 12 s and gone", "reported: agent-1: [red]agent-2[/red] is far"]


def test_what_is_not_printable_of_a_peer_s_texts_is_shown_as_a_mark():
    turned = "\u202eevil\u2066\u2028"
    one = agent(turned, turned, codec=turned)
    alarms = (Alarm(REPORTED, turned, turned),)
    of = Snapshot(turned, 4, (one,), links=(LinkSeen((turned, turned), 1.0, 1.0),), alarms=alarms, layers={turned: 1.0})
    assert all(line.isprintable() and "\ufffdevil" in line for line in lines(of, 200) if "evil" in line)


def test_a_view_of_nobody_and_of_what_is_not_known_yet():
    assert lines(Snapshot("run", 4, ()), 80)[:2] == [
        "run: nobody is there; 4 parameters",
        "consensus distance: not known yet",
    ]
    assert sparks([0.0, 0.0]) == "▁▁"


def test_the_measured_slope_stands_beside_the_predicted_one():
    of = replace(seen(distance=0.0123), slope=-0.004, predicted_slope=-0.021)
    both = "consensus distance 0.0123, -0.4% a step; exchanges alone: -2.1% or faster"
    assert lines(of, 140)[1] == f"{both}  █▅" and lines(of, len(both))[1:3] == [both, "█▅"]
    assert "exchanges alone: -2.1% a step or faster" in lines(replace(of, slope=None), 140)[1]
    assert json.loads(json.dumps(asdict(of)))["predicted_slope"] == -0.021


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
def test_the_screen_shows_it_follows_resizes_and_ends(size):
    looked = threading.Event()

    def look():
        looked.set()
        return seen()

    async def run():
        screen = TopScreen(look)
        async with screen.run_test(size=size) as pilot:
            while screen.query_one("#agents").row_count != 5:
                await pilot.pause()
            table = screen.query_one("#agents")
            assert len(table.columns) == len(FULL if size[0] > 100 else NARROW)
            assert "4 training" in str(screen.query_one("#headline").render())
            assert "0.5" in str(screen.query_one("#distance").render())
            while screen.query_one("#layers").size.height <= 1:  # Laid out a little later.
                await pilot.pause()
            screen.show(seen(distance=0.25))
            assert 0.25 in screen.query_one("#course").data
            await pilot.resize_terminal(140 if size[0] == 80 else 80, 30)
            while len(table.columns) != len(NARROW if size[0] > 100 else FULL):
                await pilot.pause()
            await pilot.press("q" if size[0] == 80 else "ctrl+c")
            while screen.is_running:
                await asyncio.sleep(0)
        screen.end()
        assert screen.error is None

    asyncio.run(run())
    assert looked.is_set()


def test_what_a_look_raises_ends_the_screen():
    def look():
        raise ConnectionError("nobody is there any more")

    async def run():
        screen = TopScreen(look)
        async with screen.run_test():
            while screen.is_running:
                await asyncio.sleep(0)
        screen.end()
        assert "nobody is there" in str(screen.error)

    asyncio.run(run())


def test_a_signal_ends_the_screen_as_its_key_does():
    interruption = Interruption()

    async def run():
        screen = TopScreen(seen, interruption)
        async with screen.run_test():
            interruption(signal.SIGTERM, None)
            while screen.is_running:
                await asyncio.sleep(0)
        screen.end()
        assert screen.error is None

    asyncio.run(run())
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


def test_the_screen_is_on_the_terminal_of_standard_output_and_the_log_comes_after_it(capfd, caplog):
    with drawing():
        os.write(2, b"drawn")
        for number in range(2 * HELD):
            logging.getLogger("gossamer").warning("line %d", number)
        assert caplog.messages == []
    os.write(2, b"said")
    assert caplog.messages == [f"line {number}" for number in range(HELD, 2 * HELD)]
    drawn, said = capfd.readouterr()
    assert drawn == "drawn" and said.endswith("said") and "drawn" not in said


def test_without_a_terminal_or_textual_one_line_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert run_command(["top", "--join", "tcp://127.0.0.1:9"]) == 2
    assert "--once" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    monkeypatch.delitem(sys.modules, "agents.command.top_screen", raising=False)
    assert run_command(["top", "--join", "tcp://127.0.0.1:9"]) == 2
    err = capsys.readouterr().err
    assert "gossamer[top]" in err and err.count("\n") == 1


def test_nobody_there_is_one_line(capsys):
    assert run_command(["top", "--once", "--join", "tcp://127.0.0.1:9", "--timeout", "0.2"]) == 2
    err = capsys.readouterr().err
    assert "nobody answered at tcp://127.0.0.1:9 within 0.2 s" in err and err.count("\n") == 1


def test_a_real_swarm_as_json_and_as_one_view(capsys):
    """Three peers that exchange, one of which then leaves."""
    start = {"w": np.zeros(500, np.float32)}
    peers = []
    try:
        for number in range(3):
            join = [peers[0].address] if peers else []
            peers.append(Peer(start, task="test", every="1steps", name=f"peer-{number}", join=join, overlap=False))
            peers[-1].meet(start)
        for number, peer in enumerate(peers):
            peer.publish("training")
            peer.boundary({"w": np.full(500, float(number), np.float32)}, loss=0.5)
        deadline_s = time.monotonic() + 60
        while True:
            assert run_command(["top", "--once", "--json", "--join", peers[2].address]) == 0
            found = json.loads(capsys.readouterr().out)
            if found["compared"] == 3 and found["links"] and all(each["started"] for each in found["agents"]):
                break
            assert time.monotonic() < deadline_s, found
        assert [each["agent"] for each in found["agents"]] == ["peer-0", "peer-1", "peer-2"]
        assert {each["state"] for each in found["agents"]} <= {"training", "stalled", "silent"}
        for each in found["agents"]:
            assert each["bytes_by_codec"].keys() == {"float32"}
            assert 2000 <= each["bytes_by_codec"]["float32"] <= each["bytes_sent"]  # 500 float32 an offer or answer.
        assert found["consensus_distance"] is not None and all(each["rate"] >= 0 for each in found["links"])
        for command in ["top", "--once"], ["status"]:
            found, modules = modules_of(*command, "--json", "--join", peers[2].address)
            assert found["consensus_distance"] is not None and "numpy" in modules
            assert modules & NEEDLESS == set()
        peers.pop().close()
        assert run_command(["top", "--once", "--join", peers[0].address]) == 0
        assert "peer-2" in capsys.readouterr().out
    finally:
        for peer in peers:
            peer.close()


def test_a_snapshot_is_plain_json():
    assert json.loads(json.dumps(asdict(replace(seen(), slope=None))))["agents"][0]["agent"] == "agent-0"
