"""Fuzzing in small: any bytes on any connection, in any order, raise nothing and fill no table (invariant 6)."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agents.mixing.layout
from tests.chaos import fuzz, invariants


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(agents.mixing.layout, "CHUNK", fuzz.CHUNK)


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=120), max_size=40))
def test_no_bytes_in_any_order_raise_anything(inputs):
    target = fuzz.Target()
    for data in inputs:
        target.feed(data)
    assert np.isfinite(target.replica.snapshot()).all()


def test_thousands_of_frames_fill_no_table_and_leave_the_vector_finite():
    draw, target = random.Random(0), fuzz.Target()
    while target.frames < 4000:
        target.feed(draw.randbytes(draw.choice((4, 16, 64, 200))))
    assert 0.1 < target.refused / target.frames < 0.9, "both what is refused and what isn't is fuzzed"
    assert np.isfinite(target.replica.snapshot()).all()
    assert max(size for _, size in invariants.tables(target.core)) <= 1100


def test_growing_memory_fails(monkeypatch):
    sizes = iter((100.0, 121.0))
    monkeypatch.setattr(fuzz, "resident_mb", lambda: next(sizes))
    measured = fuzz.Measured(fuzz.Target(), 30)
    with pytest.raises(MemoryError, match=r"grew by 21.0 MB"):
        for _ in range(30):
            measured.feed(b"")
