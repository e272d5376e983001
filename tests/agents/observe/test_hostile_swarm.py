"""Invariant 6: an observer trusts nothing that members publish or send."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from fake_peers import mute, pieces_of
from safetensors.numpy import load_file

from agents import load_task
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.mixing.layout import CHUNK
from agents.observe import observer, streaming
from transport.messages import Identity, Liveness, Member, Piece, Report

THETA = np.arange(4, dtype=np.float32)
MARK = "import pathlib\npathlib.Path('loaded').touch()\nraise SystemExit\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "gossamer")


@pytest.mark.parametrize("name", ["evil.py", "./evil.py", "{here}/evil.py"])
def test_a_file_named_by_a_member_is_never_loaded(peer, tmp_path, capsys, caplog, name):
    Path("evil.py").write_text(MARK)
    named = name.format(here=tmp_path)
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task=named),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert not Path("loaded").exists()
    card = json.loads(capsys.readouterr().out)
    assert (card["agents"], card["accuracy"]) == (["honest"], None)
    assert "the swarm's task 'evil.py' is a file: pass --task evil.py to evaluate" in caplog.messages
    np.testing.assert_array_equal(load_file("consensus.safetensors")["theta"], THETA)


def test_a_built_in_task_of_another_model_is_reported_and_the_model_still_written(peer, capsys, caplog):
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task="digits"),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {}
    assert any("not evaluated as task digits" in line and "4 parameters" in line for line in caplog.messages)
    assert Path("consensus.safetensors").is_file()


def test_a_task_that_needs_data_is_not_given_any_by_a_member(peer, capsys, caplog):
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task="npz"),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert any("pass --data PATH" in line for line in caplog.messages)


def test_a_task_on_the_command_line_that_the_swarm_does_not_train_is_refused(peer, capsys):
    one = peer(pieces=pieces_of(THETA))
    assert run_command(["consensus", "--join", one.address, "--task", "digits"]) == 2
    assert "give --task as the swarm has it" in capsys.readouterr().err


# Vectors that can't be used.


def short(pull):
    """Pieces of a byte each."""
    yield Piece(pull.request, pull.first, 4, b"x")


def another_model(pull):
    yield Piece(pull.request, pull.first, 2**44, THETA.tobytes())


def beyond_the_end(pull):
    yield Piece(pull.request, 2**62, 4, THETA.tobytes())


def unreachable(pull):
    yield Piece(pull.request, 0, -1)


def nan(pull):
    yield Piece(pull.request, 0, 4, np.full(4, np.nan, np.float32).tobytes())


def of_others(pull):
    """Answers to requests that nobody made."""
    for number in range(100):
        yield Piece(number + 1000, 0, 4, THETA.tobytes())


LIES = {
    short: "a piece of 1 bytes where 16 were expected",
    another_model: "its vector has 17592186044416 parameters, not 4",
    beyond_the_end: "it sent piece 4611686018427387904 of a vector of 1 pieces",
    unreachable: "nobody we are connected with reaches it",
    nan: "NaN, infinity or values beyond 1e19",
    mute: "0 of 1 pieces of its vector came in time",
    of_others: "0 of 1 pieces of its vector came in time",
}


@pytest.mark.parametrize(("pieces", "why"), LIES.items(), ids=[lie.__name__ for lie in LIES])
def test_a_liar_is_left_out_with_a_line_and_the_others_are_assembled(peer, capsys, caplog, monkeypatch, pieces, why):
    monkeypatch.setattr(observer, "PULL_S", 0.3)
    liar = peer(agent="a-liar", pieces=pieces)
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(), liar.me()))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["agents"], card["missing"], card["distance"]) == (["honest"], ["a-liar"], 0.0)
    assert any(line.startswith("a-liar is missing: ") and why in line for line in caplog.messages), caplog.messages
    np.testing.assert_array_equal(load_file("consensus.safetensors")["theta"], THETA)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1e300])
def test_a_weight_that_no_shard_has_is_left_out(peer, capsys, weight):
    liar = peer(agent="liar", pieces=pieces_of(THETA + 9), members=lambda self: (self.me(weight=weight),))
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(), liar.me(weight=weight)))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["liar"]


@pytest.mark.parametrize("field", ["weight", "mass"])
def test_of_a_run_whose_agents_weigh_alike_nobody_weighs_more(peer, capsys, caplog, field):
    alike = {"weigh": "equal"}
    liar = peer(agent="liar", settings=alike, pieces=pieces_of(THETA + 9), members=lambda p: (p.me(**{field: 9}),))
    one = peer(settings=alike, pieces=pieces_of(THETA), members=lambda p: (p.me(), liar.me(**{field: 9})))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["liar"]
    assert any("claims to weigh 9, of at most 1" in line for line in caplog.messages)


def test_a_weight_that_rounds_of_a_finish_have_rounded_is_taken(peer, capsys):
    """A mean of weights of 1 may come out greater, by a trace; what others handed to one counts so much as well."""
    alike = {"weigh": "equal"}
    one = peer(settings=alike, pieces=pieces_of(THETA), members=lambda p: (p.me(mass=1 + 1e-9),))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agents"] == ["honest"]


@pytest.mark.parametrize("parameters", [2**44, 2**63 - 1, 0, -1])
def test_nothing_is_allocated_for_a_size_that_no_memory_holds(peer, capsys, caplog, parameters):
    liar = peer(agent="liar", parameters=parameters, pieces=pieces_of(THETA))
    assert run_command(["consensus", "--join", liar.address, "--no-evaluate", "--timeout", "0.3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert any("is left out: its model of" in line for line in caplog.messages)
    one = peer(pieces=pieces_of(THETA))
    both = ["--join", liar.address, "--join", one.address]
    assert run_command(["consensus", *both, "--no-evaluate", "--json", "--timeout", "15"]) == 0
    assert json.loads(capsys.readouterr().out)["agents"] == ["honest"]


def test_a_peer_that_sends_slowly_is_waited_for_as_long_as_its_chunks_allow(peer, clock, capsys, caplog, monkeypatch):
    """40 pieces may take 1000 + 40 * 1 s in all, and 1000 s each; they come 100 s apart."""
    monkeypatch.setattr(observer, "PULL_S", 1000.0)
    monkeypatch.setattr(observer, "CHUNK_S", 1.0)
    theta = np.zeros(40 * CHUNK, np.float32)
    trickle = pieces_of(theta)

    def one_at_a_time(pull):
        clock.ahead_s += 100
        yield next(iter(trickle(pull)))

    slow = peer(agent="slow", parameters=theta.size, pieces=one_at_a_time)
    one = peer(parameters=theta.size, pieces=trickle, members=lambda self: (self.me(), slow.me()))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["slow"]
    (came,) = re.findall(r"slow is missing: (\d+) of 40 pieces", caplog.text)
    assert 2 < int(came) < 12


def test_made_up_members_cost_a_bounded_time_and_honest_ones_come_first(peer, capsys, caplog, monkeypatch):
    monkeypatch.setattr(observer, "PULL_S", 0.1)
    monkeypatch.setattr(streaming, "VAIN_S", 0.5)
    ghosts = tuple(Member(Identity(f"ghost-{number:03}", 1), Liveness(0, "settling")) for number in range(500))
    one = peer(pieces=pieces_of(THETA), onward=mute, members=lambda self: (*ghosts, self.me()))
    assert run_command(["consensus", "--join", one.address, "--no-evaluate"]) == 0
    assert one.pulls < 50
    assert any("more are missing: not asked" in line for line in caplog.messages)
    out = capsys.readouterr().out
    assert out.startswith("1 agent, missing: ghost-000") and "and 490 more" in out


# Where the result is written.


def of_a_task_and_of_another(peer, **settings):
    """(another swarm's agent, one that trains my_task.py): settings: of the second."""
    Path("my_task.py").write_text(
        "import jax.numpy as jnp, numpy as np\nfrom agents import Task\ndata = {'x': np.ones((9, 4), np.float32)}\n"
        "task = Task(lambda key: {'w': jnp.zeros(4)}, lambda params, batch, key: jnp.mean(batch['x'] @ params['w']),\n"
        "            lambda params, batch: {'top3': jnp.mean(batch['x'] @ params['w'])}, data, data)\n"
    )
    model = make_learner(load_task("my_task.py")).spec_hash
    other = peer(agent="liar", parameters=7, model="other", pieces=pieces_of(np.zeros(7, np.float32)))
    return other, peer(model=model, pieces=pieces_of(THETA), **settings)


@pytest.mark.parametrize("silent_s", [0.0, 0.5], ids=["at once", "later than another"])
def test_the_folder_of_out_is_made_and_nothing_else_is_left_in_it(peer, capsys, silent_s):
    """Of addresses that are named each is asked: the first to answer was the only one that was known."""
    other, one = of_a_task_and_of_another(peer, silent_s=silent_s)
    join = ["--join", other.address, "--join", one.address]
    assert run_command(["consensus", *join, "--task", "my_task.py", "--out", "new/folder/x.safetensors"]) == 0
    assert "top3: mean of agents 6.0000, agents 6.0000 to 6.0000, merged 6.0000" in capsys.readouterr().out
    assert {path.name for path in Path("new/folder").iterdir()} == {"x.safetensors", "x.json"}
    assert load_file("new/folder/x.safetensors")["w"].tobytes() == THETA.tobytes()


def test_the_card_does_not_take_the_models_place(capsys):
    assert run_command(["consensus", "--join", "tcp://127.0.0.1:9", "--out", "x.json"]) == 2
    assert "--out is the safetensors file" in capsys.readouterr().err


# Text.


def test_markup_in_what_members_say_is_shown_as_it_is(peer, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    odd = ("[red]a[/]", "[/]", "[link=http://x.example]b[/link]", "x" * 1024)
    records = [Member(Identity(name, 1), Liveness(0, odd[1])) for name in odd]
    one = peer(agent=odd[0], run="[/bold]run", members=lambda self: records)
    assert run_command(["status", "--join", one.address]) == 0
    out = capsys.readouterr().out
    assert "[/bold]run" in out and all(name in out for name in odd[:3]) and "xxx..." in out


def test_sums_of_numbers_that_a_member_makes_up_are_json_all_the_same(peer, capsys):
    made_up = Report(exchanges=1, last_exchange_s=1e308, stalled_s=1e308)
    liar = Member(Identity("liar", 1), Liveness(1, "training", 1e308), made_up)
    one = peer(members=lambda self: (self.me(), liar))
    assert run_command(["status", "--join", one.address, "--json"]) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    members = {each["agent"]: each for each in json.loads(capsys.readouterr().out, parse_constant=refuse)["members"]}
    assert members["liar"]["stalled_s"] is None and members["liar"]["last_exchange_s"] is None
