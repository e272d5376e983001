"""Chunks of three coordinates, so that a small vector is a stream of many."""

import agents.mixing.chunks
import pytest


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(agents.mixing.chunks, "CHUNK", 3)
