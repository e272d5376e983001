"""Keys, secrets and lists of trusted keys as files: what is refused, and the command that mends it."""

import os

import pytest

from transport.keys import KeyFileError, curve_of, new_key, read_key, read_secret, signed_by, write_key
from transport.trust import Trust, Trusted, TrustError, add, parse, remove


def test_a_key_file_reads_back_and_is_its_owners_alone(tmp_path):
    key, path = new_key(), tmp_path / "key"
    write_key(path, key)
    assert read_key(path) == key and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="exists: expected a new file"):
        write_key(path, new_key())
    assert key.public not in repr(key) or key.seed.hex() not in repr(key)


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
    assert remove(path, "desk") == [Trusted(b, "desk", "observer")]
    assert remove(path, a) == [Trusted(a, "site a")]
    assert path.read_text() == "# sites\n\n"
    with pytest.raises(TrustError, match="holds no key and no label 'desk'"):
        remove(path, "desk")


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
