"""Small numbers in bytes: as many bits as they have, and they come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs.fields import pack_fields, packed_size, unpack_fields


@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 10_000))
def test_numbers_come_back_from_as_many_bits_as_they_have(bits, eights, seed):
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, 8 * eights).astype(np.uint8)
    before, packed = numbers.copy(), pack_fields(numbers, bits)
    assert packed.dtype == np.uint8 and packed.size == packed_size(bits, numbers.size) == bits * eights
    np.testing.assert_array_equal(unpack_fields(packed, bits), numbers)
    np.testing.assert_array_equal(numbers, before)


@given(st.integers(1, 8), st.binary(max_size=64))
def test_every_sequence_of_bytes_is_that_of_some_numbers(bits, data):
    packed = np.frombuffer(data[: len(data) // bits * bits], np.uint8)
    numbers = unpack_fields(packed, bits)
    assert (numbers < 1 << bits).all()
    np.testing.assert_array_equal(pack_fields(numbers, bits), packed)


def test_four_bits_stand_half_the_numbers_apart():
    assert pack_fields(np.arange(1, 9, dtype=np.uint8), 4).tolist() == [0x51, 0x62, 0x73, 0x84]


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_above_those_that_count_are_left_out(bits):
    numbers = np.full(16, 255, np.uint8)
    np.testing.assert_array_equal(unpack_fields(pack_fields(numbers, bits), bits), np.full(16, (1 << bits) - 1))
