"""Edits of the list of trusted keys by several at a time: none is lost, and none is made by half."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from transport.edited import edited
from transport.keys import Key, KeyFileError, new_key, read_key, rewrite_key, write_key
from transport.trust import INVITE, NOBODY, Trust, Trusted, TrustError, add, parse, remove


def test_edits_at_the_same_time_are_all_made(tmp_path):
    path = tmp_path / "trust"
    old, new = ([new_key().public for _ in range(12)] for _ in range(2))
    for key in old:
        add(path, Trusted(key))
    with ThreadPoolExecutor(4) as pool:
        edits = [pool.submit(edit) for a, b in zip(old, new, strict=True)
                 for edit in (lambda a=a: remove(path, a), lambda b=b: add(path, Trusted(b)))]  # fmt: skip
    assert all(edit.result() for edit in edits)
    assert set(parse(path.read_text())) == set(new)


def test_who_waits_too_long_for_another_is_told_so(tmp_path, monkeypatch):
    path, a = tmp_path / "trust", new_key().public
    add(path, Trusted(a))
    monkeypatch.setattr("transport.edited.LOCK_S", 0.0)
    with edited(path), pytest.raises(TrustError, match=r"trust can't be changed: another process has held .*\.lock"):
        remove(path, a)
    assert remove(path, a)


def test_an_edit_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "trust"
    path.write_text("before\n")
    path.chmod(0o640)
    with pytest.raises(RuntimeError), edited(path) as lines:
        lines[:] = ["after"]
        raise RuntimeError
    assert path.read_text() == "before\n"
    with edited(path) as lines:
        lines.append("after")
    assert path.read_text() == "before\nafter\n" and path.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == [".trust.lock", "trust"]


def test_an_edit_through_a_link_changes_the_file_that_it_leads_to(tmp_path):
    folder, link = tmp_path / "shared", tmp_path / "trust"
    folder.mkdir()
    link.symlink_to("shared/list")
    a, b, invitation = (new_key().public for _ in range(3))
    add(link, Trusted(a))
    add(link, Trusted(invitation, "x", INVITE, int(time.time()) + 99))
    trust = Trust(link)
    trust.redeem(invitation, b)
    assert trust.reread() == []
    remove(link, a)
    assert link.is_symlink() and list(parse((folder / "list").read_text())) == [b]
    assert trust.reread() == [Trusted(a, role="")]
    (folder / "other").write_text(f"{a}\n")
    link.unlink()
    link.symlink_to("shared/other")
    assert trust.reread() == [Trusted(b, "x", role="")] and trust.role(a) == "agent", "it may lead elsewhere later"


def test_an_invitation_is_exchanged_for_what_the_file_says_then(tmp_path):
    """Not for what it said at the last look."""
    path, taken_back, good, banned = tmp_path / "trust", new_key().public, new_key().public, new_key().public
    until_s = int(time.time()) + 99
    for key, label in ((taken_back, "x"), (good, "y")):
        add(path, Trusted(key, label, INVITE, until_s))
    trust = Trust(path)
    remove(path, taken_back)
    add(path, Trusted(banned, role=NOBODY))
    with pytest.raises(TrustError, match="the invitation isn't valid any more"):
        trust.redeem(taken_back, new_key().public)
    with pytest.raises(TrustError, match=r"expected a key that .* doesn't hold yet"):
        trust.redeem(good, banned)
    assert list(parse(path.read_text())) == [good, banned]


def test_invitations_whose_time_is_over_go_with_the_next_edit(tmp_path):
    """A clock that is set back would make them good again."""
    path, late, a = tmp_path / "trust", new_key().public, new_key().public
    add(path, Trusted(late, "x", INVITE, int(time.time()) - 1))
    assert list(parse(path.read_text())) == [late]
    add(path, Trusted(a))
    assert list(parse(path.read_text())) == [a]


def full_disk(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_half_of_a_key_or_list_and_those_before_as_they_were(tmp_path, monkeypatch):
    path, trust, key, a = tmp_path / "key", tmp_path / "trust", new_key(), new_key().public
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_key(path, key)
    assert list(tmp_path.iterdir()) == []
    write_key(path, key)
    add(trust, Trusted(a))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        rewrite_key(path, Key(key.seed, "vouch"))
    with pytest.raises(TrustError, match="No space left"):
        add(trust, Trusted(new_key().public))
    assert read_key(path) == key and list(parse(trust.read_text())) == [a]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".trust.lock", "key", "trust"]


def test_a_key_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut leaves the one before or the new one: not an empty file in place of who we are."""
    path, key, done = tmp_path / "key", new_key(), []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("flushed") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("moved") or replace(*paths))
    write_key(path, key)
    assert "flushed" in done
    done.clear()
    rewrite_key(path, Key(key.seed, "vouch"))
    assert done.index("flushed") < done.index("moved") and done[-1] == "flushed"
    assert read_key(path).vouch == "vouch" and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="exists"):
        write_key(path, new_key())
