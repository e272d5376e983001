"""Small numbers in bytes: as many bits as they have, and they come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs.fields import pack_fields, packed_size, unpack_fields


@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 10_000))
def test_numbers_come_back_from_as_many_bits_as_they_have(bits, words, seed):
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, 64 * words).astype(np.uint8)
    before, packed = numbers.copy(), pack_fields(numbers, bits)
    assert packed.dtype == np.uint8 and packed.size == packed_size(bits, numbers.size) == 8 * bits * words
    np.testing.assert_array_equal(unpack_fields(packed, bits), numbers)
    np.testing.assert_array_equal(numbers, before)


@given(st.integers(1, 8), st.binary(max_size=512), st.integers(0, 7))
def test_every_sequence_of_bytes_is_that_of_some_numbers(bits, data, begin):
    """Wherever it begins in memory."""
    packed = np.frombuffer(data, np.uint8)[begin:]
    packed = packed[: packed.size // (8 * bits) * 8 * bits]
    numbers = unpack_fields(packed, bits)
    assert (numbers < 1 << bits).all()
    np.testing.assert_array_equal(pack_fields(numbers, bits), packed)


def test_four_bits_stand_half_the_numbers_apart():
    numbers = [k // 4 for k in range(64)]
    expected = [numbers[k] | numbers[k + 32] << 4 for k in range(32)]
    assert pack_fields(np.array(numbers, np.uint8), 4).tolist() == expected


@given(st.integers(1, 8), st.integers(0, 10_000))
def test_the_bytes_are_those_of_a_reference_that_packs_one_number_at_a_time(bits, seed):
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, 128).tolist()
    expected, low = [], 0
    for width in (8, 4, 2, 1):
        if bits & width:
            apart = len(numbers) * width // 8
            for first in range(apart):
                fields = [(number >> low) % (1 << width) for number in numbers[first::apart]]
                expected.append(sum(field << (width * k) for k, field in enumerate(fields)))
            low += width
    assert pack_fields(np.array(numbers, np.uint8), bits).tolist() == expected


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_above_those_that_count_are_left_out(bits):
    numbers = np.full(64, 255, np.uint8)
    np.testing.assert_array_equal(unpack_fields(pack_fields(numbers, bits), bits), np.full(64, (1 << bits) - 1))
