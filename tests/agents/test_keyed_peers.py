"""Peers with keys over real sockets: who takes part, who only looks, who is refused, and that both sides say so."""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agents import Peer
from agents.command.invite import invite
from agents.command.join import join
from agents.enrolling import InvitationVoid, NotEnrolled, enroll, read_token
from agents.network import SwarmError
from agents.observe import seen
from agents.observe.errors import Unreachable
from agents.observe.observer import Observer
from agents.observe.snapshot import snapshot
from agents.observe.watching import watching
from agents.protocol.events import Notice
from agents.securing import credentials
from agents.settings import Securing
from agents.values import SettingsError
from transport.credentials import Credentials
from transport.keys import Key, KeyFileError, new_key, read_key, write_key
from transport.trust import Trusted, TrustError, add, parse, remove
from transport.vouching import asks

LIMIT_S = 5.0
PARAMS = {"w": np.zeros(3, np.float32)}


@dataclass
class Site:
    """A folder with a key and a list of those it trusts."""

    name: str
    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        return {"key": self.folder / "key", "trust": self.folder / "trust"}

    @property
    def key(self) -> Key:
        return read_key(self.folder / "key")

    def trusts(self, *others: "Site", observer: bool = False) -> None:
        for other in others:
            add(self.folder / "trust", Trusted(other.key.public, other.name, "observer" if observer else "agent"))

    def removes(self, other: "Site") -> None:
        remove(self.folder / "trust", other.name)


Sites = Callable[..., list[Site]]
Start = Callable[..., Peer]


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    """Sites of these names, all of which trust each other."""

    def make(*names: str) -> list[Site]:
        made = [Site(name, tmp_path / name) for name in names]
        for site in made:
            site.folder.mkdir()
            write_key(site.folder / "key", new_key())
        for site in made:
            site.trusts(*made)
        return made

    return make


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts peers, and closes them at the end."""
    with ExitStack() as stack:

        def begin(name: str, join: str = "", **settings: object) -> Peer:
            peer = Peer(PARAMS, task="keys", name=name, join=join or (), every="1steps", **settings)  # type: ignore
            stack.callback(peer._network.stop)
            return peer

        yield begin


def soon(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {limit_s:g} s"
        time.sleep(0.01)


def met(*peers: Peer) -> bool:
    """Whether each of these has had an answer from each other."""
    wanted = {peer.name for peer in peers}
    return all({member.agent for member in peer.members} == wanted for peer in peers)


def test_agents_that_trust_each_other_exchange_and_know_each_others_keys(sites: Sites, start: Start) -> None:
    a, b, c = sites("a", "b", "c")
    first = start("a", **a.files)
    assert first.address.endswith("#" + a.key.public)
    second, third = start("b", first.address, **b.files), start("c", first.address, **c.files)
    soon(lambda: met(first, second, third), "all meet, though b and c were given a's address only", 20)
    assert {m.agent: m.identity.key for m in first.members} == {s.name: s.key.public for s in (a, b, c)}
    params = second.meet({"w": np.ones(3, np.float32)})
    first.publish("training")
    for _ in range(200):
        params = second.boundary(params)
        if second.view().me.report.exchanges:
            break
    assert second.view().me.report.exchanges > 0


def test_a_secret_is_enough_and_another_is_refused_in_words(tmp_path: Path, start: Start, caplog) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        write_key(path, new_key())
    first = start("a", secret=ours)
    second = start("b", first.address, secret=ours)
    soon(lambda: met(first, second), "they meet", 20)
    start("c", first.address, secret=theirs)
    here, there = "it has another secret, or runs without one", "it expects another key here than ours"
    soon(lambda: here in caplog.text and there in caplog.text, "both sides say so")
    assert met(first, second)


def test_who_was_refused_is_an_alarm_to_who_watches(sites: Sites, start: Start) -> None:
    a, b = sites("a", "b")
    a.removes(b)
    first = start("a", **a.files)
    start("b", first.address, **b.files)
    join = [first.address]
    with watching(join, 20, credentials(Securing(**a.files), join, agent=False)) as (watch, welcome):

        def refused() -> list[str]:
            watch.look()
            return [each.text for each in snapshot(watch, welcome).alarms if each.kind == seen.REFUSED]

        soon(refused, "it is seen", 20)
        assert "its key isn't trusted; if it belongs here, `agent trust add KEY` lets it in" in refused()[0]


def test_an_agent_that_refuses_us_is_no_refusal_of_ours(start: Start) -> None:
    network = start("a")._network
    for text in ("tcp://10.0.0.5:5710 can't be mixed with: our run is x, theirs y", "refused c: its run is y, ours x"):
        network._on_signal(Notice(text, "refused"))
    assert list(network._link.refused.recent()) == ["c: its run is y, ours x"]


def test_a_key_that_is_removed_is_out_while_it_exchanges_and_both_sides_say_so(
    sites: Sites, start: Start, caplog
) -> None:
    caplog.set_level("INFO", "gossamer")
    a, b, c = sites("a", "b", "c")
    first = start("a", **a.files)
    second, third = start("b", first.address, **b.files), start("c", first.address, **c.files)
    soon(lambda: met(first, second, third), "all meet", 20)
    a.removes(b)
    c.removes(b)
    soon(lambda: met(first, third), "b is nobody's member")
    soon(lambda: "b is out: its key is no longer trusted" in caplog.text, "it is said here")
    soon(lambda: "our key isn't trusted there" in caplog.text, "it is said there")
    assert not first._network._core.exchanges.open_peers
    for site in (a, c):
        site.trusts(b)
    soon(lambda: met(first, second, third), "it is trusted again", 30)


def test_a_second_agent_with_another_key_under_a_name_in_use_is_refused_in_words(
    sites: Sites, start: Start, caplog
) -> None:
    caplog.set_level("INFO", "gossamer")
    a, b, c = sites("a", "b", "c")
    first = start("a", **a.files)
    second = start("b", first.address, **b.files)
    soon(lambda: met(first, second), "they meet", 20)
    other = start("b", first.address, **c.files)
    began_s = time.monotonic()
    with pytest.raises(SwarmError, match="our name is b, theirs one that no other agent has; give another --name"):
        while time.monotonic() - began_s < LIMIT_S:
            other.view()
    soon(lambda: "refused another agent that calls itself b" in caplog.text, "it is said there")
    assert met(first, second)


def test_an_observers_key_may_look_and_not_take_part(sites: Sites, start: Start, caplog) -> None:
    caplog.set_level("INFO", "gossamer")
    a, desk, stranger = sites("a", "desk", "stranger")
    a.trusts(desk, observer=True)
    a.removes(stranger)
    first = start("a", **a.files)
    observer = Observer([first.address], credentials(Securing(key=desk.files["key"]), [first.address], agent=False))
    try:
        welcome = observer.meet(LIMIT_S)
        assert [member.agent for member in observer.alive()] == ["a"]
        assert observer.pull(observer.alive()[0], welcome.parameters).tolist() == [0.0, 0.0, 0.0]
    finally:
        observer.close()
    joining = start("desk", first.address, **desk.files)
    began_s = time.monotonic()
    with pytest.raises(SwarmError, match="our role is an observer's, theirs an agent's; an observer's key may look"):
        while time.monotonic() - began_s < LIMIT_S:
            joining.view()
    soon(lambda: "its key is an observer's" in caplog.text, "it is said there")
    observer = Observer([first.address], credentials(Securing(key=stranger.files["key"]), [first.address], agent=False))
    try:
        with pytest.raises(Unreachable, match=r"our key isn't trusted there; `agent trust add"):
            observer.meet(1.0)
    finally:
        observer.close()


def invited(host: Site, address: str, hours: float = 1.0) -> str:
    """The token that `agent invite` prints for this site."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        invite("newcomer", join=address, trust=host.files["trust"], hours=hours, as_json=True)
    return str(json.loads(printed.getvalue())["token"])


def joined(folder: Path, token: str) -> Site:
    """The site that `agent join` makes of a token."""
    folder.mkdir()
    join(token, out=folder / "key", trust=folder / "trust", timeout=LIMIT_S)
    return Site(folder.name, folder)


def test_who_is_invited_is_let_in_once_and_by_all_that_trust_who_invited_it(
    sites: Sites, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gossamer")
    a, b = sites("a", "b")
    first = start("a", **a.files)
    second = start("b", first.address, **b.files)
    soon(lambda: met(first, second), "they meet", 20)
    token = invited(a, first.address)
    new = joined(tmp_path / "new", token)
    third = start("new", first.address, **new.files)
    soon(lambda: met(first, second, third), "b lets it in as a vouches for it", 20)
    soon(lambda: f"{new.key.public} is let in: {a.key.public} a vouches for it" in caplog.text, "it is said there")
    assert Trusted(new.key.public, "newcomer") in parse(a.files["trust"].read_text()).values()
    with pytest.raises(NotEnrolled, match="doesn't know the invitation: it was used, has expired"):
        joined(tmp_path / "again", token)
    assert not (tmp_path / "again" / "key").exists()
    add(b.files["trust"], Trusted(new.key.public, "newcomer", "nobody"))
    soon(lambda: "new" not in {member.agent for member in second.members}, "b keeps it out", 10)
    soon(lambda: "new" in {member.agent for member in first.members}, "a keeps it in", 10)


def test_an_answer_that_is_lost_costs_no_invitation(
    sites: Sites, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = sites("a")
    first = start("a", **a.files)
    token, files = invited(a, first.address), {"out": tmp_path / "key", "trust": tmp_path / "trust"}
    files["trust"].write_text("nonsense\n")
    with pytest.raises(TrustError, match="line 1"):
        join(token, **files, timeout=LIMIT_S)
    assert not files["out"].exists()
    files["trust"].unlink()

    def lost(*given: object) -> None:
        enroll(*given)  # type: ignore[arg-type]
        raise NotEnrolled("no answer")

    with monkeypatch.context() as patched:
        patched.setattr("agents.command.join.enroll", lost)
        with pytest.raises(NotEnrolled, match="no answer"):
            join(token, **files, timeout=LIMIT_S)
    key = read_key(files["out"])
    with pytest.raises(InvitationVoid):
        enroll(*read_token(token), new_key(), LIMIT_S)
    join(token, **files, timeout=LIMIT_S)
    assert read_key(files["out"]).seed == key.seed and read_key(files["out"]).vouch
    assert files["out"].stat().st_mode & 0o777 == 0o600
    assert list(parse(a.files["trust"].read_text())).count(key.public) == 1
    with pytest.raises(SettingsError, match="has joined with another token"):
        join(token, **files)
    add(a.files["trust"], Trusted(key.public, role="nobody"))
    with pytest.raises(InvitationVoid):
        enroll(*read_token(token), key, LIMIT_S)


def test_who_joins_keeps_what_its_list_says_already(
    sites: Sites, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, banned, desk, b = sites("a", "banned", "desk", "b")
    first = start("a", **a.files)
    ours = [Trusted(banned.key.public, "x", "nobody"), Trusted(desk.key.public, "", "observer"), Trusted(b.key.public)]
    for each in ours:
        add(tmp_path / "new.trust", each)
    join(invited(a, first.address), out=tmp_path / "new.key", trust=tmp_path / "new.trust", timeout=LIMIT_S)
    who = Trusted(a.key.public, "a")
    assert list(parse((tmp_path / "new.trust").read_text()).values()) == [*ours, who]
    kept = [text for text in caplog.messages if "though who invited us trusts that key" in text]
    assert [str(each) in text for each, text in zip(ours, kept, strict=False)] == [True, True]


def test_an_invitation_expires_and_opens_nothing_else(sites: Sites, start: Start, tmp_path: Path) -> None:
    (a,) = sites("a")
    first = start("a", **a.files)
    with pytest.raises(NotEnrolled, match="has expired"):
        joined(tmp_path / "late", invited(a, first.address, hours=1e-6))
    address, key = read_token(invited(a, first.address))
    observer = Observer([address], Credentials(key))
    try:
        with pytest.raises(Unreachable, match="nobody answered"):
            observer.meet(1.0)
    finally:
        observer.close()
    with pytest.raises(SettingsError, match="a token is what `agent invite` prints"):
        read_token(address)
    with pytest.raises(SettingsError, match="--join is our agent's address with its key"):
        invite(join="tcp://127.0.0.1:1", trust=a.files["trust"])


def test_an_invitation_is_for_a_key_of_ones_own(
    sites: Sites, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = sites("a", "b")
    a.removes(b)
    first = start("a", **a.files)
    token = invited(a, first.address)
    monkeypatch.setattr("agents.enrolling.asks", lambda key, invitation: asks(new_key(), invitation))
    with pytest.raises(NotEnrolled):
        enroll(*read_token(token), b.key, LIMIT_S)
    assert f"hasn't proved to own the key '{b.key.public}'" in caplog.text
    monkeypatch.undo()
    assert enroll(*read_token(token), b.key, LIMIT_S).vouch, "the invitation is as good as before"


REFUSED = {
    "listening to others": ({"listen": "tcp://0.0.0.0:0"}, SettingsError, r"--listen .*: give --secret FILE"),
    "calling others": ({"join": "tcp://192.0.2.1:5710"}, SettingsError, r"--join .*: give --secret FILE"),
    "published to others": (
        {"advertise": "tcp://192.0.2.1:5710"},
        SettingsError,
        r"--advertise .*; --insecure goes without",
    ),
    "published as no address": ({"advertise": "here"}, SettingsError, "--advertise: .*'here'"),
    "a run of two lines": ({"run": "two\nlines"}, SettingsError, "--run must consist of printable characters"),
    "a key alone": ({"key": "key"}, SettingsError, "not who may take part: give --trust FILE"),
    "trust alone": ({"trust": "trust"}, SettingsError, "give --key FILE with our own too"),
    "two ways": ({"key": "key", "secret": "key"}, SettingsError, "give one of them"),
    "insecure": ({"secret": "key", "insecure": True}, SettingsError, "--insecure is for plaintext"),
    "no such file": ({"secret": "none"}, KeyFileError, "there is no file none"),
    "an address without a key": (
        {"key": "key", "trust": "trust", "join": "tcp://127.0.0.1:9"},
        SettingsError,
        "--join: tcp://127.0.0.1:9 doesn't say whose it is",
    ),
    "a key that isn't trusted": (
        {"key": "key", "trust": "trust", "join": "tcp://127.0.0.1:9#" + "A" * 42 + "E"},
        SettingsError,
        "isn't trusted here: `agent trust add A",
    ),
}


@pytest.mark.parametrize("settings", REFUSED)
def test_what_would_not_be_secret_is_refused_before_anything_starts(
    settings: str, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, kind, text = REFUSED[settings]
    monkeypatch.chdir(sites("here")[0].folder)
    with pytest.raises(kind, match=text):
        Peer(PARAMS, task="keys", **given)  # type: ignore[arg-type]


def test_plaintext_among_machines_is_said_at_each_start(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    start("a", listen="tcp://0.0.0.0:0", insecure=True)
    assert "--insecure: whoever reaches this agent can take part, and read the models on their way" in caplog.text
