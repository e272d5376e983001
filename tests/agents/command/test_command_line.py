"""What a user types wrongly gets one line and exit code 2, before anything is compiled; what is right gets through."""

import math
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.command import cli, sources
from agents.command.supervise import LaunchError
from agents.config import to_toml
from agents.settings import Gossiping, Learning, Placing, Securing
from agents.values import Every, SettingsError, Shard

CALLED = (2, "", "agent: called [G101]\n")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line in this process: (exit code, stdout, stderr)."""
    for name in [name for name in os.environ if name.startswith("AGENT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command line has imported by its end."""
    run = f"from agents.command.cli import run_command; run_command({list(arguments)})"
    program = f"import sys; {run}; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported_by(*arguments) & {"jax", "numpy", "scipy", "zmq", "optax", "rich.markdown"}


@pytest.mark.parametrize("command", [["status"], ["top", "--once"]], ids=" ".join)
def test_who_only_looks_imports_no_jax(command: list[str]) -> None:
    heavy = {"jax", "scipy", "optax", "textual"}
    assert not imported_by(*command, "--join", "tcp://127.0.0.1:9", "--timeout", "0.1") & heavy


@pytest.mark.parametrize("command", ["launch", "run", "status", "top", "dashboard", "stop", "consensus"])
def test_help_explains_every_flag(agent: Run, command: str) -> None:
    code, out, _ = agent(command, "--help")
    assert code == 0
    flags = [line.strip("│ *\n") for line in out.splitlines() if line.startswith(("│ --", "│    --", "│ *  --"))]
    assert len(flags) > 2
    bare = [flag for flag in flags if "  " not in flag]
    assert not bare, bare
    assert "[env var" not in out and "default: ()" not in out


def test_help_is_wrapped_by_its_width_alone() -> None:
    """In a process of its own: the width is read once."""
    lines: list[str] = []
    for command in ("run", "plan", "trust add"):
        words = [sys.executable, "-m", "agents.command.cli", *command.split(), "--help"]
        done = subprocess.run(words, env=os.environ | {"COLUMNS": "1000"}, capture_output=True, text=True, check=True)
        lines += done.stdout.split("\n")
    rows = [line for line in lines if line.startswith("│")]
    assert rows and not [row for row in rows if not row.strip("│ *").startswith(("--", "KEY", "LABEL"))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lauch", "there is no command 'lauch', did you mean launch? See `agent --help` [G100]"),
        ("trust ad", "there is no command 'ad', did you mean add? See `agent trust --help` [G100]"),
        ("launch -n 2 --topolgy=ring", "`agent launch` has no --topolgy, did you mean --topology? See"),
        ("launch -n 2 --listen tcp://0.0.0.0:1", "`agent launch` has no --listen, which `agent run` has; see"),
        ("status --qqq", "`agent status` has no --qqq; see"),
        ("launch --task digits", "`agent launch` needs --agents or -n; see"),
        ("trust add", "`agent trust add` needs KEY; see"),
        ("status --join localhost:5710", "got 'localhost:5710'; did you mean tcp://localhost:5710? [G101]"),
        ("run --task digits --listen 0.0.0.0:1", "got '0.0.0.0:1'; did you mean tcp://0.0.0.0:1? [G101]"),
        ("status --join tcp://localhost", "got 'tcp://localhost'; give one such as tcp://"),
    ],
)
def test_what_is_mistyped_is_named_with_what_may_have_been_meant(agent: Run, words: str, expected: str) -> None:
    code, _, err = agent(*words.split())
    assert (code, err.count("\n")) == (2, 1) and expected in err


def test_whoever_reads_no_further_ends_help_without_an_error() -> None:
    program = "from agents.command.cli import main; main(['run', '--help'])"
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (cli.BROKEN_PIPE, "")


BAD_RUNS = {
    "no task": ([], ["--task is missing", "--join"]),
    "no value": (["--task"], ["--task requires an argument"]),
    "misspelt flag": (["--task", "digits", "--alhpa", "0.3"], ["--alhpa", "Did you mean --alpha"]),
    "positional": (["--task", "digits", "extra"], ["takes flags only", "'extra'"]),
    "not a number": (["--task", "digits", "--alpha", "x"], ["--alpha", "expected a number: got 'x'"]),
    "not whole": (["--task", "digits", "--steps", "1.5"], ["--steps", "expected a whole number: got '1.5'"]),
    "unknown task": (["--task", "digit"], ["'digit'", "digits"]),
    "missing task file": (["--task", "gone.py"], ["no task file at gone.py"]),
    "missing data": (["--task", "idx", "--data", "/nowhere"], ["/nowhere", "train-images-idx3-ubyte", "--data"]),
    "unknown topology": (["--task", "digits", "--topology", "moebius"], ["--topology", "'moebius'", "ring"]),
    "alpha": (["--task", "digits", "--alpha", "1.2"], ["--alpha is", "in [0, 1]", "got alpha=1.2"]),
    "alpha nan": (["--task", "digits", "--alpha", "nan"], ["--alpha is", "in [0, 1]", "got alpha=nan"]),
    "every": (["--task", "digits", "--every", "often"], ['"10steps" or "0.5s"', "'often'"]),
    "every none": (["--task", "digits", "--every", "0steps"], ["more than none", "'0steps'"]),
    "partition": (["--task", "digits", "--partition", "odd"], ["'odd'", "dirichlet:0.1"]),
    "optimizer": (["--task", "digits", "--optimizer", "sdg"], ["'sdg'", "adam"]),
    "steps and epochs": (["--task", "digits", "--steps", "3", "--epochs", "2"], ["--steps and --epochs"]),
    "shard": (["--task", "digits", "--shard", "8/8"], ["--shard", "0/8 to 7/8", "'8/8'"]),
    "shards": (["--task", "digits", "--shard", "0/9999"], ["1438 samples", "9999"]),
    "listen": (["--task", "digits", "--listen", "localhost"], ["--listen", "tcp://HOST:PORT", "'localhost'"]),
    "join": (["--task", "digits", "--join", "host"], ["--join", "tcp://HOST:PORT", "'host'"]),
    "NAT alone": (["--task", "digits", "--listen", "none"], ["--listen none", "--join"]),
    "silent": (["--task", "digits", "--silent", "0.5"], ["--silent must exceed"]),
    "codec": (["--task", "digits", "--codec", "nonsense"], ["--codec is one of float32", "lattice:8", "'nonsense'"]),
    "rule and codec": (
        ["--task", "digits", "--rule", "drift", "--codec", "lowrank:4"],
        ["--rule drift learns from whole"],
    ),
    "rule": (
        ["--task", "digits", "--rule", "nonsense"],
        ["--rule is parameters, or", "drift[:GAIN]", "'nonsense'"],
    ),
    "network": (["--task", "digits", "--network", "man"], ["--network is local, lan, wan", "'man'"]),
    "silent in a WAN": (["--task", "digits", "--network", "wan", "--silent", "4"], ["exceed 5 seconds", "got 4"]),
    "no config file": (["--config", "gone.toml"], ["no file gone.toml"]),
    "config without file": (["--task", "digits", "--config"], ["--config needs a file"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_bad_input_gets_one_line_and_exit_code_2(agent: Run, arguments: list[str], words: list[str]) -> None:
    code, out, err = agent("run", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("agent: ")
    for word in words:
        assert word.lower() in err.lower()


def test_an_error_ends_in_a_number_that_is_explained(agent: Run) -> None:
    _, _, err = agent("run", "--task", "digits", "--alpha", 2)
    number = err.split()[-1]
    code, out, _ = agent("explain", number)
    assert (code, out.splitlines()[0]) == (0, "G101  SettingsError: a setting can't be used")
    assert agent("explain", number.strip("[]G")) == (code, out, "")
    code, out, _ = agent("explain")
    assert code == 0 and out.count("\n") > 30 and all(line.startswith("G") for line in out.splitlines())


def test_a_number_that_no_error_has_is_an_error(agent: Run) -> None:
    assert agent("explain", "G999") == (
        2,
        "",
        "agent: no error has the number 'G999': `agent explain` lists those there are [G101]\n",
    )


def test_an_error_that_repeats_another_keeps_its_number(agent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the cause says more than that of who tells of it."""

    def launch(*_: object, **__: object) -> None:
        raise LaunchError("agent-0: the port is in use [G301]")

    monkeypatch.setattr("agents.command.launch.Swarm", launch)
    assert agent("launch", "-n", 1, "--task", "digits")[2].endswith("agent-0: the port is in use [G301]\n")


@pytest.mark.parametrize(
    ("command", "most", "takes"),
    [
        ("dashboard", 1, "at most 1 argument besides flags"),
        ("explain", 1, "at most 1 argument besides flags"),
        ("join", 1, "at most 1 argument besides flags"),
        ("trust add", 2, "at most 2 arguments besides flags"),
        ("trust list", 0, "flags only"),
        ("keygen", 0, "flags only"),
    ],
)
def test_a_command_says_how_many_arguments_it_takes_where_more_are_given(
    agent: Run, command: str, most: int, takes: str
) -> None:
    code, _, err = agent(*command.split(), *"abc"[: most + 1])
    assert code == 2 and f"`agent {command}` takes {takes}: got {'abc'[most]!r}" in err


@pytest.mark.parametrize("seconds", ["nan", "-1"])
@pytest.mark.parametrize("command", ["status", "top --once", "stop", "consensus", "dashboard", "doctor", "join"])
def test_a_timeout_is_a_time(agent: Run, command: str, seconds: str) -> None:
    given = ["token"] if command == "join" else ["--join", "tcp://127.0.0.1:9"]
    code, _, err = agent(*command.split(), *given, f"--timeout={seconds}")
    assert (code, err.count("\n")) == (2, 1) and "--timeout must be at least 0: got" in err


@pytest.mark.parametrize("command", ["rnu", "--bogus"])
def test_an_unknown_command_names_the_known_ones(agent: Run, command: str) -> None:
    code, _, err = agent(command)
    assert (code, err.count("\n")) == (2, 1)
    assert command in err and "launch" in err and "consensus" in err


def test_a_task_file_that_raises_is_named_with_its_line(agent: Run) -> None:
    Path("boom.py").write_text("import math\n\nx = 1 / 0\n")
    code, _, err = agent("run", "--task", "boom.py")
    assert (code, err) == (2, f"agent: {Path.cwd()}/boom.py, line 3: ZeroDivisionError: division by zero [G201]\n")


def test_a_task_file_without_task_says_so(agent: Run) -> None:
    Path("empty.py").write_text("x = 1\n")
    code, _, err = agent("run", "--task", "empty.py")
    assert (code, err.count("\n")) == (2, 1) and "empty.py must define `task`" in err


def test_a_port_in_use_is_named(agent: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = agent("run", "--task", "digits", "--listen", address)
    assert (code, err.count("\n")) == (2, 1)
    assert address in err and "already in use" in err and "--listen" in err


def test_a_folder_whose_only_checkpoint_is_damaged_has_none(agent: Run) -> None:
    Path("a").mkdir()
    Path("a/checkpoint.safetensors").write_bytes(b"not one")
    code, _, err = agent("consensus", "a")
    assert code == 2 and "no agent left a checkpoint in a" in err


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("run", "--resume", "gone"), "holds no config.toml: expected the folder of one agent"),
        (("run", "--resume", "launch"), "`agent launch --resume launch` goes on with it"),
        (("launch", "--resume", "agent"), "`agent run --resume agent` goes on with it"),
        (("launch", "--resume", "launch", "-n", "3"), "was launched with 2 agents, and -n says 3"),
        (("run", "--resume", "agent", "--run-dir", "x"), "leave --run-dir x out"),
        (("launch", "--resume", "launch", "--run-dir", "x"), "leave --run-dir x out"),
        (("run", "--resume", "agent", "--config", "x.toml"), "leave out --config x.toml"),
        (("run", "--resume"), "--resume needs a folder"),
    ],
)
def test_what_cant_be_resumed_is_refused(agent: Run, words: tuple[str, ...], cause: str) -> None:
    Path("agent").mkdir()
    Path("launch/agents").mkdir(parents=True)
    Path("agent/config.toml").write_text('task = "digits"\n')
    Path("launch/config.toml").write_text('task = "digits"\nagents = 2\n')
    code, _, err = agent(*words)
    assert (code, err.count("\n")) == (2, 1) and cause in err, err


def test_a_checkpoint_of_another_model_is_refused(agent: Run) -> None:
    import numpy as np

    from agents.checkpoint import Checkpoint, save

    theta = np.zeros(3, np.float32)
    save(Path("a/checkpoint.safetensors"), Checkpoint(theta, [], {"model": "other", "seed": 0, "shard": "0/1"}))
    code, _, err = agent("run", "--task", "digits", "--run-dir", "a")
    assert (code, err.count("\n")) == (2, 1) and "has model other" in err and "--run-dir" in err


@pytest.mark.parametrize("command", ["status", "stop", "consensus"])
def test_nobody_there_is_said_after_the_timeout(agent: Run, command: str) -> None:
    began_s = time.monotonic()
    code, _, err = agent(command, "--join", "tcp://127.0.0.1:9", "--timeout", 0.3)
    assert (code, err.count("\n")) == (2, 1) and "nobody answered at tcp://127.0.0.1:9 within 0.3 s" in err
    assert time.monotonic() - began_s < 10
    code, _, err = agent(command, "--join", "nowhere")
    assert (code, err.count("\n")) == (2, 1) and "tcp://HOST:PORT" in err


@pytest.mark.parametrize(("arguments", "word"), [(["-n", "0"], "at least 1: got 0"), ([], "needs --agents")])
def test_launch_needs_agents(agent: Run, arguments: list[str], word: str) -> None:
    code, _, err = agent("launch", "--task", "digits", *arguments)
    assert (code, err.count("\n")) == (2, 1) and word in err


def test_launch_leaves_a_folder_that_is_in_use_alone(agent: Run) -> None:
    Path("full").mkdir()
    for name, why in (("x", "holds files that are no run's, such as x: give a new"), ("agents", "holds another run")):
        Path("full", name).touch()
        code, _, err = agent("launch", "--task", "digits", "-n", 2, "--run-dir", "full")
        assert (code, err.count("\n")) == (2, 1) and f"--run-dir full {why}" in err
    assert sorted(path.name for path in Path("full").iterdir()) == ["agents", "x"]
    for folder, why in (("full/x", "full/x is no folder"), ("two\nlines", "--run-dir must consist of printable")):
        code, _, err = agent("launch", "--task", "digits", "-n", 2, "--run-dir", folder)
        assert (code, err.count("\n")) == (2, 1) and why in err


@pytest.mark.parametrize("place", [".", "link", "new"])
def test_a_launch_that_is_refused_says_why_and_leaves_no_files(agent: Run, place: str) -> None:
    """Whatever its folder is: the one we stand in, and one by a link, can't be removed."""
    Path("real").mkdir()
    Path("link").symlink_to("real")
    Path("here").mkdir()
    os.chdir("here")
    folder = place if place == "." else f"../{place}"
    code, _, err = agent("launch", "--task", "digits", "--data", "x", "-n", 1, "--run-dir", folder)
    assert code == 2 and "digits brings its own data" in err.splitlines()[-1], err
    os.chdir("..")
    assert sorted(map(str, Path().rglob("*"))) == ["here", "link", "real"]


@pytest.mark.parametrize(("task", "why"), [("digitz", "no task is called 'digitz'"), ("gone.py", "no task file at")])
def test_a_launch_of_a_misspelt_task_starts_no_agent(
    agent: Run, monkeypatch: pytest.MonkeyPatch, task: str, why: str
) -> None:
    monkeypatch.setattr("agents.command.launch.Swarm", None)
    code, _, err = agent("launch", "--task", task, "-n", 4)
    assert (code, err.count("\n")) == (2, 1) and why in err
    assert not list(Path().iterdir())


# Flags, environment, file.


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Learning, Gossiping, Placing]]:
    """The settings with which `agent run` made an agent, at which it ends."""
    calls: list[tuple[Learning, Gossiping, Placing]] = []

    def agent(learning: Learning, gossiping: Gossiping, placing: Placing, securing: Securing) -> None:
        calls.append((learning, gossiping, placing))
        raise SettingsError("called")

    monkeypatch.setattr("agents.agent.Agent", agent)
    return calls


def test_flags_precede_environment_precedes_file(agent: Run, called: list, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("swarm.toml").write_text('task = "npz"\nalpha = 0.1\nevery = "3steps"\nsteps = 5\nlearning-rate = 0.5\n')
    monkeypatch.setenv("AGENT_ALPHA", "0.2")
    monkeypatch.setenv("AGENT_EVERY", "4steps")
    monkeypatch.setenv("AGENT_RUN_DIR", "here")
    monkeypatch.setenv("AGENT_JOIN", "tcp://a:1 tcp://b:2")
    assert agent("run", "--alpha", 0.3, "--config", "swarm.toml") == CALLED
    [(learning, gossiping, placing)] = called
    assert (gossiping.alpha, gossiping.every) == (0.3, Every(steps=4))
    assert (learning.task, learning.steps, learning.learning_rate) == ("npz", 5, 0.5)
    assert (placing.run_dir, placing.join, placing.run) == (Path("here"), ("tcp://a:1", "tcp://b:2"), None)


def test_the_config_of_a_run_reads_back_as_it_was(agent: Run, called: list) -> None:
    learning = Learning(task='a "quoted" \\ name.py', steps=1000, seed=-3, learning_rate=1e-5)
    gossiping = Gossiping(alpha=0.25, every=Every(seconds=0.5), settle=math.inf)
    placing = Placing(
        join=("tcp://a:1", "tcp://[::1]:2"), shard=Shard(1, 3), run_dir=Path("x y"), stop_after=3.5, evaluate=False
    )
    Path("config.toml").write_text(to_toml(learning, gossiping, placing))
    assert tomllib.loads(Path("config.toml").read_text())["for"] == 3.5
    assert agent("run", "--config", "config.toml") == CALLED
    assert called == [(learning, gossiping, placing)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alpah = 0.4", ["swarm.toml", "'alpah'", "did you mean alpha?"]),
        ("qqq = 1", ["swarm.toml", "'qqq'", "agent run --help"]),
        ("[gossip]\nalpha = 0.4", ["swarm.toml", "'gossip'"]),
        ('alpha = "high"', ["swarm.toml", "alpha", "'high'"]),
        ("steps = 1.5", ["swarm.toml", "steps", "'1.5'"]),
        ("task = digits", ["swarm.toml", "line 1"]),
    ],
)
def test_a_file_that_cant_be_used_is_named_with_the_key(agent: Run, text: str, words: list[str]) -> None:
    Path("swarm.toml").write_text(text + "\n")
    code, _, err = agent("run", "--config=swarm.toml", "--task", "digits")
    assert (code, err.count("\n")) == (2, 1), err
    for word in words:
        assert word in err


def test_a_wrong_type_in_the_environment_names_the_variable(agent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_ALPHA", "much")
    code, _, err = agent("run", "--task", "digits")
    assert (code, err.count("\n")) == (2, 1) and "AGENT_ALPHA" in err and "'much'" in err


def test_a_misspelt_variable_is_pointed_out_and_a_strangers_is_not(
    agent: Run, called: list, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AGENT_ALPAH", "0.4")
    monkeypatch.setenv("AGENT_HOMEDIRECTORY", "/ci")
    assert agent("run", "--task", "digits")[0] == 2
    assert len(called) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "AGENT_ALPAH in the environment is ignored: did you mean AGENT_ALPHA?"
    ]


@pytest.mark.parametrize("file", [False, True])
def test_what_is_set_for_agents_is_in_no_commands_way(agent: Run, monkeypatch: pytest.MonkeyPatch, file: bool) -> None:
    """A folder that was typed comes before a --join that wasn't; by what models are judged has no use alone."""
    settings = {
        "join": "tcp://127.0.0.1:9",
        "task": "digits",
        "data": "d",
        "secret": "gone",
        "run_dir": "r",
        "alpha": 0.4,
    }
    if file:
        Path("swarm.toml").write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()))
        monkeypatch.setenv("AGENT_CONFIG", "swarm.toml")
    else:
        for key, value in settings.items():
            monkeypatch.setenv(f"AGENT_{key.upper()}", str(value))
    for command in ("status", "top"):
        assert "there is no folder nowhere" in agent(command, "nowhere")[2]
    for folder in (["nowhere"], ["--from", "nowhere"]):
        assert "no agent left a checkpoint in nowhere" in agent("consensus", *folder)[2]
    assert "holds no config.toml" in agent("run", "--resume", "nowhere")[2]
    assert "got both" in agent("consensus", "nowhere", "--join", "tcp://a:1")[2], "what was typed is never left out"
    assert "--secret is for a running swarm" in agent("consensus", "nowhere", "--secret", "s")[2]


def test_config_takes_its_option_out_of_the_arguments() -> None:
    with pytest.raises(SettingsError, match="no file gone"):
        sources.sources(["run", "--config", "gone"])
    arguments = ["run", "--task", "x"]
    assert sources.sources(arguments) and arguments == ["run", "--task", "x"]
