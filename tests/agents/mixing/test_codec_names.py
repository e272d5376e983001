"""The names of codecs: one grammar, and what isn't in it is refused with all that is."""

import pytest

from agents.checks import check_codec
from agents.mixing.codec_names import PLAIN, CodecName, UnknownCodec, parse_codec, steps_between
from agents.mixing.codecs import named
from agents.values import SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((name, CodecName(name)) for name in PLAIN),
        ("segments:1/5", CodecName("float32", 5)),
        ("lattice:4+segments:1/5", CodecName("lattice:4", 5)),
        ("lattice:2+float32/5", CodecName("lattice:2", 1, "float32", 5)),
        ("lattice:3+segments:1/2+bfloat16/4", CodecName("lattice:3", 2, "bfloat16", 4)),
        ("segments:1/2+lattice:4/100", CodecName("float32", 2, "lattice:4", 100)),
    ],
)
def test_a_name_is_read_as_the_grammar_says_and_names_a_codec(text, expected):
    assert parse_codec(text) == expected
    assert named(text).name == text and named(text) is named(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "int8", "lattice", "lattice:1", "lattice:9", "lattice:04", "Float32", "float32 ", "bfloat16:2"),
        *("segments:1/1", "segments:2/5", "segments:1/101", "segments:1/0", "segments:1/05", "segments:1/-2"),
        *(
            "lattice:4+",
            "+lattice:4",
            "lattice:4+lattice:3",
            "lattice:4+lattice:3/1",
            "lattice:4+lattice:3/5+float32/2",
        ),
        *("lattice:4+lattice:4/5", "lattice:4+segments:1/5+segments:1/5", "lattice:4+float32/5+segments:1/5"),
        *("lattice:4+segments:1/5/2", "lattice:4+float32/5x", "lattice:4 + float32/5", "float32/5", "x" * 1000),
    ],
)
def test_what_is_no_name_is_refused_with_all_that_is(text):
    for refused, error in ((parse_codec, UnknownCodec), (named, UnknownCodec), (check_codec, SettingsError)):
        with pytest.raises(
            error, match=r"codec is one of float32, bfloat16, .*lattice:2.*segments:1/N.*: got"
        ) as caught:
            refused(text)
        assert len(str(caught.value)) < 400


def test_a_coordinate_is_exchanged_as_seldom_as_its_segment():
    assert steps_between(10, "lattice:4+segments:1/5") == 50
    assert steps_between(10, "lattice:4+float32/5") == 10 and steps_between(None, "segments:1/5") is None
