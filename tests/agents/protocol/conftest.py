"""Chunks of three coordinates, so that a small vector is a stream of many."""

import pytest

import agents.mixing.layout


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(agents.mixing.layout, "CHUNK", 3)
