"""`agent doctor` finds what would hinder an agent here, and how far away those are whom it would meet."""

import json
import resource
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from agents import Peer
from agents.claim import Claim
from agents.command.cli import run_command
from agents.observe import contacts, machine
from agents.observe.machine import PROBLEM, WARNING, WELL
from agents.sinks.names import TRACKERS
from transport.messages import AgentId, Identity, Member

BACKEND = '{"backend": "gpu", "devices": ["H100", "H100"]}\n'


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX is asked in a process of its own once, below; it takes seconds."""
    monkeypatch.setattr(machine, "device", lambda: machine.Finding("device", WELL, "one"))


DEVICE = machine.device


def found(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and state and text by check."""
    code = run_command(["doctor", *words, "--json"])
    plain = json.loads(capsys.readouterr().out)
    assert plain["well"] == (code == 0)
    assert all(bool(each["advice"]) == (each["state"] != WELL) for each in plain["checks"]), "say what to do"
    return code, {each["check"]: (each["state"], each["found"]) for each in plain["checks"]}


def test_a_machine_without_a_swarm_is_looked_at_alone(capsys, tmp_path):
    code, checks = found(capsys, "--run-dir", str(tmp_path / "new" / "run"))
    assert code == 0 and list(checks) == ["software", "device", "open files", "clock", "disk", "keys", "address"]
    assert "jax " in checks["software"][1] and str(tmp_path) in checks["disk"][1]
    assert run_command(["doctor"]) == 0
    assert "tcp://127.0.0.1:" in capsys.readouterr().out


def test_the_swarm_is_met_and_its_agents_are_measured(capsys):
    params = {"w": np.zeros(600_000, np.float32)}
    with Peer(params, task="mine.py", name="one", listen="tcp://127.0.0.1:0") as peer:
        code, checks = found(capsys, "--join", peer.address, "--timeout", "60")
        assert code == 2, "its task is a file, which we did not give"
        assert "1 alive, 600000 parameters" in checks["swarm"][1]
        assert checks["settings"][0] == PROBLEM and "give --task with your copy of the file" in checks["settings"][1]
        state, text = checks["peer one"]
        assert state == WELL and "round trip" in text and "MB/s" in text
        _, checks = found(capsys, "--join", peer.address, "--task", "digits", "--timeout", "60")
        assert "task is digits here and mine.py in the swarm" in checks["settings"][1]
    gone = Member(Identity(AgentId("gone"), 1, peer.address))
    assert contacts.peer(gone, peer.address, None, 0.1).state == PROBLEM


def test_another_model_of_the_same_task_is_a_problem(peer, capsys):
    fake = peer(settings={"task": "digits", "shards": 4, "topology": "ring"}, parameters=9)
    code, checks = found(capsys, "--join", fake.address, "--timeout", "60")
    assert code == 2 and checks["settings"][1] == "task digits makes another model: 4810 parameters here, 9 there"
    assert "too small to measure" in checks["peer honest"][1], "its only chunk would be all of its vector"
    _, checks = found(capsys, "--join", fake.address, "--topology", "torus", "--timeout", "60")
    assert "topology is torus here and ring in the swarm" in checks["settings"][1]


def test_what_is_wrong_here_is_said(capsys, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, checks = found(capsys, "--listen", address)
        assert code == 2 and checks["address"] == (PROBLEM, f"can't listen at {address}: Address already in use")
        elsewhere = machine.listening("tcp://0.0.0.0:0", f"tcp://localhost.:{taken.getsockname()[1]}")
        assert elsewhere.state == WARNING and "lead" in elsewhere.found
    assert machine.listening("tcp://0.0.0.0:0", "").state == WARNING
    assert machine.listening(None, "").state == WELL
    assert machine.listening("tcp://0.0.0.0:0", f"tcp://{socket.gethostbyname(socket.gethostname())}:0").state == WELL
    loose = tmp_path / "secret"
    loose.write_text("x")
    loose.chmod(0o644)
    code, checks = found(capsys, "--secret", str(loose))
    assert code == 2 and "chmod 600" in checks["keys"][1] and "address" not in checks
    code, checks = found(capsys, "--join", "tcp://127.0.0.1:1", "--timeout", "0.1")
    assert code == 2 and checks["swarm"][0] == PROBLEM
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert machine.files().state == WARNING
    monkeypatch.setattr(machine, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert machine.disk(Path()).state == WARNING


def problem(capsys, *words: str) -> tuple[str, str]:
    """The one problem that these flags have: its check and text."""
    code, checks = found(capsys, *words)
    ((check, text),) = [(check, text) for check, (state, text) in checks.items() if state == PROBLEM]
    assert code == 2
    return check, text


def test_what_run_would_refuse_is_a_problem_before_it_is_run(capsys, tmp_path, monkeypatch):
    """Each with the line that `agent run` would end with."""
    assert problem(capsys, "--task", "digitz") == (
        "task",
        "no task is called 'digitz': name one of digits, fashion-mnist, idx, npz, or a .py file",
    )
    assert "data" in problem(capsys, "--task", "idx", "--data", str(tmp_path / "none"))[1]
    assert "9999" in problem(capsys, "--task", "digits", "--shard", "0/9999")[1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"--prometheus {port} can't be served: Address already in use"
        assert problem(capsys, "--prometheus", port) == ("prometheus", said)
    monkeypatch.setitem(TRACKERS, "wandb", TRACKERS["wandb"]._replace(package="no_such_package"))
    check, text = problem(capsys, "--track", "wandb")
    assert check == "trackers" and "pip install wandb" in text
    code, checks = found(capsys, "--task", "digits", "--shard", "1/4", "--prometheus", "0")
    assert code == 0 and checks["prometheus"][0] == WELL
    assert checks["task"][1].startswith("digits: 4810 parameters, 3") and "samples of shard 1/4" in checks["task"][1]


def test_a_folder_that_cannot_be_a_runs_is_a_problem(capsys, tmp_path, monkeypatch):
    file, link, held = tmp_path / "file", tmp_path / "link", tmp_path / "held"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for folder in (file, file / "below", link, link / "below"):
        assert problem(capsys, "--run-dir", str(folder))[1].endswith("is no folder")
    claim = Claim(held)
    assert "is in use by another running agent" in problem(capsys, "--run-dir", str(held))[1]
    claim.close()
    assert found(capsys, "--run-dir", str(held))[0] == 0
    claim.release()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert problem(capsys, "--run-dir", str(tmp_path)) == ("disk", f"nothing can be written in {tmp_path}")


def test_a_device_that_does_not_answer_or_start_is_a_problem():
    def answers(code: int, out: str = "", err: str = ""):
        return lambda *_, **__: subprocess.CompletedProcess([], code, out, err)

    def hangs(*_: object, **__: object):
        raise subprocess.TimeoutExpired("python", 1)

    assert DEVICE(hangs).state == PROBLEM
    assert DEVICE(answers(1, err="Traceback\nRuntimeError: no driver\n")).found == (
        "JAX doesn't start: RuntimeError: no driver"
    )
    assert DEVICE(answers(0, "a remark\n" + BACKEND)) == machine.Finding("device", WELL, "gpu: H100, H100")
    real = DEVICE()
    assert real.state == WELL and real.found.startswith("cpu: ")
