import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_peers import FakePeer

from agents.observe import observer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The observer's clock, which a test puts forward by ahead_s."""
    made = SimpleNamespace(ahead_s=0.0)
    monkeypatch.setattr(observer, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + made.ahead_s))
    return made


@pytest.fixture
def peer() -> Iterator[Callable[..., FakePeer]]:
    """Starts fake peers; they hang up at the end."""
    with ExitStack() as stack:

        def start(**settings: object) -> FakePeer:
            made = FakePeer(**settings)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A test works in a folder of its own, and sees what is logged."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "gossamer")
