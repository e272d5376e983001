"""`agent dashboard`: what can't be shown or served is one clear line before anything starts."""

import socket
import sys

import pytest

from agents.command import cli


def said(capsys, *arguments: str) -> tuple[int, str]:
    """The exit status, and the one line on stderr."""
    status = cli.run_command(["dashboard", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return status, error


@pytest.mark.parametrize(
    ("arguments", "words"),
    {
        (): "give one of them [G101]",
        ("somewhere", "--join", "tcp://127.0.0.1:1"): "give one of them [G101]",
        ("nowhere",): "there is no folder nowhere",
        ("--join", "nobody"): "an address is tcp://HOST:PORT",
        ("--join", "tcp://127.0.0.1:1", "--timeout", "0.2"): "nobody answered at tcp://127.0.0.1:1 within 0.2 s",
        ("--join", "tcp://198.51.100.1:1"): "give --secret FILE",
        ("somewhere", "--models", "5"): "leave it out where a folder is shown",
        ("somewhere", "--secret", "s"): "--secret is for a running swarm: leave it out where a folder is shown",
        ("somewhere", "--task", "digits"): "say by what models are judged: give --models SECONDS too",
        ("--join", "tcp://127.0.0.1:1", "--data", "x"): "say by what models are judged: give --models SECONDS too",
        ("--join", "tcp://127.0.0.1:1", "--models", "-1"): "0 for never: got -1",
        ("somewhere", "--listen", "8765"): "--listen is HOST:PORT, such as 127.0.0.1:8765: got '8765'",
        ("somewhere", "--listen", "127.0.0.1:99999"): "--listen is HOST:PORT",
        ("somewhere", "--listen", "198.51.100.1:80"): "can't be bound",
    }.items(),
)
def test_what_can_t_be_shown_is_one_line(capsys, arguments, words):
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    status, error = said(capsys, *arguments, *listen)
    assert status == 2 and words in error


def test_a_port_in_use_is_one_line_that_says_what_to_do(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, error = said(capsys, "somewhere", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert status == 2 and "is in use: give another port, or 0 for any that is free [G313]" in error


def test_what_agents_read_in_the_environment_is_not_taken_for_the_dashboard_s(capsys, monkeypatch):
    monkeypatch.setenv("AGENT_RUN_DIR", "site-0")
    monkeypatch.setenv("AGENT_TASK", "digits")
    status, error = said(capsys, "--join", "tcp://127.0.0.1:1", "--timeout", "0.2", "--listen", "127.0.0.1:0")
    assert status == 2 and "nobody answered" in error
    monkeypatch.setenv("AGENT_JOIN", "tcp://127.0.0.1:1")
    monkeypatch.setenv("AGENT_SECRET", "nowhere")
    status, error = said(capsys, "nowhere", "--listen", "127.0.0.1:0")
    assert status == 2 and "there is no folder nowhere" in error
    monkeypatch.setenv("AGENT_LISTEN", "tcp://0.0.0.0:5710")
    status, error = said(capsys, "somewhere")
    assert status == 2 and "AGENT_LISTEN, which is for agents too: give --listen" in error


def test_a_missing_package_is_one_line_that_says_what_to_install(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "agents.dashboard.serving", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, error = said(capsys, "somewhere")
    assert status == 2 and "needs uvicorn, which isn't installed: pip install 'gossamer[dashboard]' [G313]" in error
