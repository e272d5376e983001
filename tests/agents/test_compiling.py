"""Agents take turns at a compilation cache, and compile without one where it takes nothing."""

from pathlib import Path

import pytest

from agents.compiling import compiling


def test_who_has_compiled_leaves_word_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        with compiling("model"):
            pass
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["model.compiled", "turn"]


def test_a_cache_that_takes_nothing_ends_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cache that is read-only, or full: JAX itself warns and goes on."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
    with compiling("model"):
        pass
    assert (tmp_path / "file").read_bytes() == b""


def test_what_fails_while_it_is_compiled_is_not_taken_for_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    with pytest.raises(ZeroDivisionError), compiling("model"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["turn"]
