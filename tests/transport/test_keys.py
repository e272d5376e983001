"""Keys, secrets and lists of trusted keys as files: what is refused, and the command that mends it."""

import base64
import os
import time

import pytest

from transport.addresses import AddressError, is_address, is_key
from transport.credentials import Credentials
from transport.keys import KeyFileError, curve_of, new_key, read_key, read_secret, signed_by, write_key
from transport.trust import INVITE, NOBODY, Trust, Trusted, TrustError, add, parse, remove
from transport.vouching import vouch


def test_a_key_file_reads_back_and_is_its_owners_alone(tmp_path):
    key, path = new_key(), tmp_path / "key"
    write_key(path, key)
    assert read_key(path) == key and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="exists: expected a new file"):
        write_key(path, new_key())
    assert key.public not in repr(key) or key.seed.hex() not in repr(key)
    with pytest.raises(KeyFileError, match=r"there is no folder .*gone for a\.key"):
        write_key(tmp_path / "gone" / "a.key", new_key())
    with pytest.raises(TrustError, match=r"there is no folder .*gone for a\.trust"):
        add(tmp_path / "gone" / "a.trust", Trusted(key.public))


def test_the_pair_of_curve_follows_from_the_public_key():
    key = new_key()
    assert curve_of(key.public) == key.curve_public != key.curve_secret
    assert len(key.public) == 43 and not key.public.startswith("-")


@pytest.mark.parametrize("read", [read_key, read_secret])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_loose_permissions_are_refused_with_the_command_that_mends_them(tmp_path, read, mode):
    path = tmp_path / "key"
    write_key(path, new_key())
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"\(mode {mode:04o}\).*`chmod 600 {path}`"):
        read(path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", f"{'A' * 43}\n{'B' * 43}\n", "é" * 43])
def test_what_is_no_key_is_refused(tmp_path, text):
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no key: expected a file made by `agent keygen --out"):
        read_key(path)


def test_a_missing_file_says_how_it_is_made(tmp_path):
    for read in (read_key, read_secret):
        with pytest.raises(KeyFileError, match=r"`agent keygen --out .*` makes one"):
            read(tmp_path / "none")
    with pytest.raises(TrustError, match=r"`agent trust add KEY --trust .*` makes one"):
        Trust(tmp_path / "none")


def test_equal_secrets_give_equal_keys_and_short_ones_none(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    write_key(a, new_key())
    b.write_text("\n" + a.read_text() + "\n\n")
    c.write_text("correct horse battery staple")
    for path in (b, c):
        path.chmod(0o600)
    assert read_secret(a) == read_secret(b) != read_key(a)
    with pytest.raises(KeyFileError, match="a secret of 28 characters: expected 32 at least"):
        read_secret(c)


def test_a_signature_is_of_one_key_and_one_message():
    key, other = new_key(), new_key()
    signature = key.sign(b"message")
    assert signed_by(key.public, b"message", signature)
    assert not signed_by(other.public, b"message", signature)
    assert not signed_by(key.public, b"another", signature)
    for nonsense in ("", "A", "A" * 86, signature[:-1], signature + "A", "ä" * 86):
        assert not signed_by(key.public, b"message", nonsense)
        assert not signed_by(nonsense, b"message", signature)


def test_a_list_of_keys_is_edited_line_by_line(tmp_path):
    path, a, b = tmp_path / "trust", new_key().public, new_key().public
    path.write_text(f"# sites\n\n{a} site a\n")
    assert add(path, Trusted(b, "desk", "observer")) and not add(path, Trusted(b, "desk", "observer"))
    assert path.read_text() == f"# sites\n\n{a} site a\nobserver {b} desk\n"
    assert list(parse(path.read_text()).values()) == [Trusted(a, "site a"), Trusted(b, "desk", "observer")]
    assert remove(path, "desk") == Trusted(b, "desk", "observer")
    assert remove(path, a) == Trusted(a, "site a")
    assert path.read_text() == "# sites\n\n"
    with pytest.raises(TrustError, match="holds no key and no label 'desk'"):
        remove(path, "desk")


def test_what_may_mean_several_keys_removes_none(tmp_path):
    path, keys = tmp_path / "trust", [new_key().public for _ in range(4)]
    path.write_text("{} desk\n{} desk\n{}\n{}\n".format(*keys))
    with pytest.raises(
        TrustError, match=f"holds 2 keys of the label 'desk': name the one to remove, {keys[0]} or {keys[1]}"
    ):
        remove(path, "desk")
    with pytest.raises(TrustError, match="holds no key and no label ''"):
        remove(path, "")
    assert list(parse(path.read_text())) == keys


@pytest.mark.parametrize("line", ["nonsense", "observer", "A" * 42, "_" * 43])
def test_a_line_that_is_no_key_is_refused_by_its_number(tmp_path, line):
    path = tmp_path / "trust"
    path.write_text(f"{new_key().public}\n{line}\n")
    with pytest.raises(TrustError, match=r"trust, line 2: a public key is the 43 characters that `agent keygen`"):
        Trust(path)


def test_a_list_that_others_can_write_is_refused(tmp_path):
    path = tmp_path / "trust"
    path.write_text(new_key().public)
    path.chmod(0o664)
    with pytest.raises(TrustError, match=r"\(mode 0664\).*`chmod go-w"):
        Trust(path)


def test_a_list_is_followed_and_a_slip_in_it_changes_nothing(tmp_path, caplog):
    path, a, b = tmp_path / "trust", new_key().public, new_key().public
    for key in (a, b):
        add(path, Trusted(key))
    trust = Trust(path)
    assert trust.of_curve(curve_of(a)) == a and trust.reread() == []
    remove(path, a)
    assert trust.reread() == [Trusted(a, role="")] and trust.role(a) == "" and trust.of_curve(curve_of(a)) is None
    path.write_text("nonsense")
    assert trust.reread() == [] and trust.role(b) == "agent"
    os.unlink(path)
    assert trust.reread() == [] and trust.role(b) == "agent"
    assert "until it is mended, those it held before are trusted" in caplog.text
    add(path, Trusted(b, role="observer"))
    assert trust.reread() == [Trusted(b, role="observer")], "it may do less than before"


def test_a_list_that_is_written_in_place_takes_keys_out_once_it_has_stood(tmp_path, monkeypatch):
    """It may be half there; one that is moved to its place, as `agent trust` does it, is whole."""
    path, a, b, c = tmp_path / "trust", *(new_key().public for _ in range(3))
    add(path, Trusted(a))
    add(path, Trusted(b))
    trust = Trust(path)
    monkeypatch.setattr("transport.trust.UNCHANGED_S", float("inf"))
    for half in ("", f"{a}\n", f"{a}\n{c}\n"):
        path.write_text(half)
        assert trust.reread() == trust.reread() == [] and trust.role(a) == trust.role(b) == "agent"
    path.write_text(f"{a}\n{b}\n{c}\n")
    assert trust.reread() == [] and trust.role(c) == "agent", "what adds keys alone counts at once"
    path.write_text(f"{a}\n{b}\n")
    assert trust.reread() == [] and trust.role(c) == "agent"
    monkeypatch.setattr("transport.trust.UNCHANGED_S", 0.0)
    assert trust.reread() == [Trusted(c, role="")]
    monkeypatch.setattr("transport.trust.UNCHANGED_S", float("inf"))
    path.write_text("")
    assert trust.reread() == []
    path.write_text(f"{a}\n{b}\n")
    assert trust.reread() == []
    remove(path, a)
    assert trust.reread() == [Trusted(a, role="")]


def negated(public):
    """The other public key that has the same key of CURVE: the point's negative."""
    raw = bytearray(base64.urlsafe_b64decode(public + "="))
    raw[31] ^= 0x80
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_a_key_has_one_spelling():
    public = new_key().public
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = base64.urlsafe_b64decode(public + "=")
    spellings = [public[:-1] + last for last in alphabet if base64.urlsafe_b64decode(public[:-1] + last + "=") == raw]
    assert len(spellings) == 4 and [each for each in spellings if is_key(each)] == [public]
    assert [each for each in spellings if is_address(f"tcp://h:1#{each}")] == [public]
    for each in set(spellings) - {public}:
        with pytest.raises(KeyFileError, match="a public key is the 43 characters"):
            curve_of(each)


def test_two_keys_of_one_connection_are_refused_wherever_they_come_from(tmp_path):
    """Who connects proves to have a key of CURVE alone: it must lead to one public key."""
    path, a, by, invitation = tmp_path / "trust", new_key().public, new_key().public, new_key().public
    assert curve_of(a) == curve_of(negated(a))
    with pytest.raises(TrustError, match=f"trust, line 2: expected each key once: {negated(a)} is {a} again"):
        parse(f"{a}\n{negated(a)}\n", "trust")
    for line in (Trusted(a), Trusted(by), Trusted(invitation, "c", INVITE, int(time.time()) + 99)):
        add(path, line)
    trust = Trust(path)
    assert not trust.vouched(negated(a), by)
    with pytest.raises(TrustError, match=r"expected a key that .*trust doesn't hold yet"):
        trust.redeem(invitation, negated(a))
    assert trust.of_curve(curve_of(a)) == a
    newcomer = new_key().public
    assert trust.vouched(newcomer, by) and not trust.vouched(negated(newcomer), by)
    add(path, Trusted(negated(newcomer), role=NOBODY))
    trust.reread()
    assert trust.of_curve(curve_of(newcomer)) is None, "what the file says of the key counts, whoever vouches for it"


def test_one_who_vouches_for_many_keeps_nobody_else_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr("transport.trust.MAX_VOUCHED", 3)
    path, one, other = tmp_path / "trust", new_key().public, new_key().public
    add(path, Trusted(one))
    add(path, Trusted(other))
    trust = Trust(path)
    assert [trust.vouched(new_key().public, one) for _ in range(4)] == [True, True, True, False]
    assert trust.vouched(new_key().public, other)


def test_what_is_no_point_of_the_curve_is_nobody_to_vouch_for_and_nobody_to_call(tmp_path):
    path, by, none = tmp_path / "trust", new_key(), "_" * 42 + "8"
    add(path, Trusted(by.public))
    assert is_key(none) and not Credentials(new_key(), Trust(path)).vouched(none, vouch(by, none))
    with pytest.raises(AddressError, match="pins what is no key"):
        Credentials(new_key()).server_key(f"tcp://127.0.0.1:9#{none}")
