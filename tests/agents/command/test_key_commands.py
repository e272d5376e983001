"""`agent keygen`, `trust` and `invite` as typed, and what `run` and `status` refuse where keys are concerned."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.command import cli
from agents.config import to_toml
from agents.enrolling import read_token
from agents.introduction import invitation
from agents.settings import Learning, Placing, Securing
from agents.values import SettingsError, Shard
from transport.keys import new_key, read_key
from transport.trust import Trust

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_key_is_made_and_its_public_half_printed(agent: Run) -> None:
    code, out, _ = agent("keygen")
    assert code == 0 and out.strip() == read_key(Path("agent.key")).public
    code, _, err = agent("keygen")
    assert code == 2 and "agent.key exists" in err
    assert json.loads(agent("keygen", "--out", "b.key", "--json")[1])["public"] == read_key(Path("b.key")).public


def test_keys_are_trusted_listed_and_removed(agent: Run) -> None:
    a, b = new_key().public, new_key().public
    assert agent("trust", "add", a, "site a")[:2] == (0, f"agent.trust now holds {a} site a\n")
    assert agent("trust", "add", b, "--role", "observer")[:2] == (0, f"agent.trust now holds observer {b}\n")
    assert agent("trust", "add", b, "--role", "observer")[1] == f"agent.trust held already: observer {b}\n"
    assert agent("trust", "list")[1] == f"{a} site a\nobserver {b}\n"
    assert json.loads(agent("trust", "list", "--json")[1])["trusted"][1] == {"key": b, "label": "", "role": "observer"}
    assert agent("trust", "remove", "site a")[1] == f"agent.trust no longer holds {a} site a\n"
    assert agent("trust", "list")[1] == f"observer {b}\n"
    for wrong in (["add", "nonsense"], ["add", a, "--role", "king"], ["remove", "site a"]):
        code, out, err = agent("trust", *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_an_invitation_stands_in_the_list_until_it_expires(agent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"tcp://10.0.0.1:5710#{new_key().public}"
    code, out, _ = agent("invite", "site c", "--join", address)
    assert code == 0 and out.startswith("AGENT_TOKEN='tcp://")
    name, _, token = shlex.split(out)[0].partition("=")
    at, key = read_token(token)
    assert at == address and Trust(Path("agent.trust")).invites(key.public)
    assert Trust(Path("agent.trust")).role(key.public) == ""
    monkeypatch.setenv(name, "nonsense")
    assert agent("join") == (
        2,
        "",
        "agent: a token is what `agent invite` prints, tcp://HOST:PORT#KEY/SECRET in one piece [G101]\n",
    )
    for wrong in (["--join", "tcp://10.0.0.1:5710"], ["--join", address, "--hours", 0]):
        assert agent("invite", *wrong)[0] == 2


@pytest.mark.parametrize("command", ["run", "status", "consensus", "stop"])
def test_plaintext_to_another_machine_is_refused_by_every_command(agent: Run, command: str) -> None:
    code, _, err = agent(command, "--join", "tcp://192.0.2.1:5710")
    assert (code, err.count("\n")) == (2, 1)
    assert "--join tcp://192.0.2.1:5710: what goes to other machines is encrypted: give --secret FILE" in err


def test_loose_permissions_are_refused_by_every_command(agent: Run) -> None:
    agent("keygen")
    Path("agent.key").chmod(0o644)
    for command in ("run", "status", "consensus", "stop"):
        for flag in ("--key", "--secret"):
            code, _, err = agent(command, flag, "agent.key", *(["--trust", "x"] if flag == "--key" else []),
                                 "--join", "tcp://127.0.0.1:9")  # fmt: skip
            assert code == 2 and "`chmod 600 agent.key`" in err


def test_a_file_of_settings_holds_those_that_are_called_as_commands(
    agent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`agent run --resume` reads them from there: join and trust are commands too."""
    made = []

    def called(*settings: object) -> None:
        made.extend(settings)
        raise SettingsError("called")

    monkeypatch.setattr("agents.agent.Agent", called)
    securing = Securing(key=Path("site.key"), trust=Path("site.trust"))
    placing = Placing(join=("tcp://a:1", "tcp://b:2"))
    Path("config.toml").write_text(to_toml(Learning(task="digits"), placing, securing))
    assert agent("run", "--config", "config.toml") == (2, "", "agent: called [G101]\n")
    assert made[2:] == [placing, securing]


def test_the_line_for_the_next_machine_says_how_it_proves_itself() -> None:
    placing = Placing(shard=Shard(0, 2))
    line = invitation(Learning(task="digits"), placing, "tcp://h:1", set(), Securing(secret=Path("/etc/swarm.secret")))
    assert line.endswith("agent run --secret=swarm.secret --join=tcp://h:1 --shard=1/2")
    assert "--insecure" in invitation(Learning(task="digits"), placing, "tcp://h:1", set(), Securing(insecure=True))
    assert "--secret" not in invitation(Learning(task="digits"), placing, "tcp://h:1", set())
