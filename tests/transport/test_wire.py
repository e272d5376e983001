"""Bytes to messages: every message comes back as it went, and nothing but a message or WireError comes of any bytes."""

import math
from dataclasses import fields, replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_strategies import messages

from transport.messages import (
    MESSAGES,
    VERSION,
    Answer,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Offer,
    Piece,
    Pull,
    Refuse,
    Report,
    Stranger,
    Unknown,
    Welcome,
)
from transport.wire import LIMITS, Limits, UnknownType, WireError, decode, encode

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
values = {
    int: st.integers(-1, 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: texts,
    bool: st.booleans(),
}
settings = st.dictionaries(
    texts, texts | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | values[float], max_size=5
)  # fmt: skip
any_message = messages(values, settings, st.binary(max_size=64))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def survives(frames):
    """What decode makes of them, None if it refuses; any other exception fails the test."""
    try:
        message = decode(frames)
    except WireError:
        return None
    assert isinstance(message, MESSAGES)
    return message


def header(kind, **fields_):
    return msgpack.packb([kind, fields_])


@given(any_message)
def test_every_message_comes_back_as_it_went(message):
    back = decode([bytes(frame) for frame in encode(message)])
    if hasattr(back, "payload"):
        back = replace(back, payload=bytes(back.payload))
    assert back == message


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_give_a_message_or_wire_error(frames):
    survives(frames)


@given(plain, st.lists(st.binary(max_size=9), max_size=2))
def test_any_msgpack_gives_a_message_or_wire_error(value, more):
    survives([msgpack.packb(value), *more])


@given(st.sampled_from(MESSAGES), st.data())
def test_fields_of_any_type_give_a_message_or_wire_error(kind, data):
    names = [item.name for item in fields(kind)] + ["extra"]
    value = data.draw(st.dictionaries(st.sampled_from(names), plain | st.text() | st.integers(-2, 5), max_size=20))
    frames = [msgpack.packb([kind.__name__, value])] + [b"1234"] * ("payload" in names)
    message = survives(frames)
    if message is not None:
        assert survives([bytes(frame) for frame in encode(message)]) is not None, "accepted, but can't be passed on"


@given(any_message, st.data())
def test_mutated_and_truncated_messages_give_a_message_or_wire_error(message, data):
    head, *rest = (bytes(frame) for frame in encode(message))
    at = data.draw(st.integers(0, len(head) - 1))
    survives([head[:at], *rest])
    survives([head[:at] + data.draw(st.binary(max_size=3)) + head[at + 1 :], *rest])
    survives([head + b"\0", *rest])


IDENTITY = {"agent": "a", "incarnation": 1}
HUGE = (2**31).to_bytes(4, "big")


@pytest.mark.parametrize(
    "bomb",
    [
        b"",
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        *(code + HUGE for code in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")),
        (b"\xdd" + (1_000_000).to_bytes(4, "big")) * 200 + b"\xc0" * 1_000_000,
        b"\x92\xa5Hello" + b"\xc0" * ((1 << 20) + 1),
        b"\xc7\0\xff",
        b"\xd6\xff1234",
        b"\xc1",
        msgpack.packb([1, {}]),
        msgpack.packb(["Hello", []]),
        msgpack.packb(["Hello"]),
        msgpack.packb({"Hello": {}}),
        msgpack.packb(["Gossip", {"members": [[]]}]),
        header("Gossip", members=[], reply=1),
        msgpack.packb(["Gossip", {"members": [{}]}]),
        msgpack.packb(["Gossip", {"members": {"agent": 1}}]),
        msgpack.packb(["Stranger", {1: 2}]),
        msgpack.packb(["Stranger", {b"a": 2}]) + b"\xff",
        msgpack.packb(["Ack", {"exchange": True}]),
        msgpack.packb(["Ack", {"exchange": 1.0}]),
        msgpack.packb(["Ack", {"exchange": -2}]),
        msgpack.packb(["Ack", {"exchange": 2**63}]),
        msgpack.packb(["Ack", {"exchange": None}]),
        b"\x92\xa3Ack\x81\xa8exchange\xa2\xc3\x28",
        b"\x92\xa7Unknown\x81\xa4name\xa3\xed\xa0\x80",
        msgpack.packb(["Unknown", {"name": "a\x1b[2J"}]),
        msgpack.packb(["Unknown", {"name": "x" * 1025}]),
        msgpack.packb(["Gossip", {"members": [{"identity": IDENTITY}] * 4097}]),
        msgpack.packb(["Gossip", {"members": [{"identity": {"agent": "a"}}]}]),
        msgpack.packb(["Gossip", {"members": [{"identity": ["a", 1]}]}]),
        msgpack.packb(["Gossip", {"members": [{"identity": IDENTITY, "report": None}]}]),
        msgpack.packb(
            ["Gossip", {"members": [{"identity": {"agent": "a", "incarnation": 1}, "liveness": {"state": 1}}]}]
        ),
        header("Refuse", name="", expected="", got="", settings=[1]),
        header("Refuse", name="", expected="", got="", settings={"a": None}),
        header("Refuse", name="", expected="", got="", settings={"a": math.nan}),
        header("Refuse", name="", expected="", got="", settings={"a": 2**63}),
        header("Refuse", name="", expected="", got="", settings={"a": {"b": 1}}),
        header("Refuse", name="", expected="", got="", settings={"a": b"b"}),
        header("Refuse", name="", expected="", got="", settings={"a\x1b[2J": 1}),
        header("Refuse", name="", expected="", got="", settings={"a": "\x1b[2J"}),
        header("Refuse", name="", expected="", got="", settings={"a": "x" * 1025}),
        header("Refuse", name="", expected="", got="", settings={"x" * 1025: 1}),
        header("Refuse", name="", expected="", got="", settings={str(i): i for i in range(65)}),
    ],
)
def test_bombs_are_refused(bomb):
    with pytest.raises(WireError):
        decode([bomb])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, [1]])
@pytest.mark.parametrize("name", ["alpha", "weight"])
def test_numbers_that_are_not_finite_are_refused_naming_the_field(name, value):
    offer = {"exchange": 1, "chunk": 0, "chunks": 1, "alpha": 0.5, name: value}
    with pytest.raises(WireError, match=rf"Offer\.{name}: expected a finite number"):
        decode([header("Offer", **offer), b""])


def test_missing_field_is_refused_by_name_and_a_default_fills_in():
    with pytest.raises(WireError, match="Pull without count"):
        decode([header("Pull", request=1, first=0)])
    assert decode([header("Pull", request=1, first=0, count=2)]) == Pull(1, 0, 2)


def test_newer_peers_field_is_ignored_and_its_message_is_named():
    assert decode([header("Stranger", mood="good")]) == Stranger()
    with pytest.raises(UnknownType, match="Serenade") as caught:
        decode([header("Serenade", song=1)])
    assert caught.value.name == "Serenade"
    with pytest.raises(WireError) as long:
        decode([header("S" * 65)])
    assert not isinstance(long.value, UnknownType)


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_payload_comes_in_the_second_frame_and_no_third(frames):
    with pytest.raises(WireError, match="2 frames"):
        decode(([header("Answer", exchange=1, chunk=0)] + [b""] * 3)[:frames])
    with pytest.raises(WireError, match="1 frames"):
        decode([header("Stranger")] * 2)


def test_limits_hold_and_the_largest_payload_passes():
    assert len(decode([header("Answer", exchange=1, chunk=0), bytes(LIMITS.payload_bytes)]).payload) == 1 << 20
    with pytest.raises(WireError, match="at most"):
        decode([header("Answer", exchange=1, chunk=0), bytes(LIMITS.payload_bytes + 1)])
    with pytest.raises(WireError, match="at most 10"):
        decode([header("Stranger")], Limits(header_bytes=10))
    with pytest.raises(WireError):
        decode([])


def test_payload_is_never_copied():
    payload = bytearray(b"12345678")
    offer = Offer(1, 0, 1, 0.5, payload=memoryview(payload))
    assert encode(offer)[1] is offer.payload
    other = memoryview(b"other")
    assert encode(offer, other)[1] is other
    assert bytes(encode(Piece(1, 0, 2))[1]) == b""
    frames = encode(offer)
    message = decode([bytes(frames[0]), memoryview(payload)])
    payload[0] = 65
    assert bytes(message.payload) == b"A2345678"


def test_3500_members_fit_a_header():
    member = Member(
        Identity("agent-0001", 10**18, "tcp://10.0.0.123:5710"),
        Liveness(12345, "training", 1.25),
        Report("3/8", bytes_sent=10**12, task="digits", pid=12345),
    )
    (frame,) = encode(Gossip((member,) * 3500))
    assert len(decode([frame]).members) == 3500


def test_refusals_are_short_whatever_came():
    with pytest.raises(WireError) as caught:
        decode([header("Unknown", name="x" * 10_000)])
    assert len(str(caught.value)) < 200
    assert encode(Unknown("x")) and encode(Hello(VERSION, "", 0)) and encode(Answer(1, 0))


@pytest.mark.parametrize("value", [1, 1.0, True, "1", -3, 2**62, 1e300])
def test_a_setting_keeps_its_type(value):
    (frame,) = encode(Refuse("manifest", "a", "b", {"alpha": value}))
    back = decode([frame]).settings["alpha"]
    assert back == value and type(back) is type(value)


def test_settings_are_bounded_in_number_and_text():
    """The largest manifest that passes, and one beyond it."""
    largest = {f"{i:01024}": "x" * LIMITS.text_chars for i in range(LIMITS.settings)}
    assert decode(encode(Welcome(VERSION, "a", 1, settings=largest))).settings == largest
    with pytest.raises(WireError):
        decode(encode(Welcome(VERSION, "a", 1, settings=largest | {"one": "more"})))
    with pytest.raises(WireError, match="at most 2 settings"):
        decode(encode(Welcome(VERSION, "a", 1, settings={"a": 1, "b": 2, "c": 3})), Limits(settings=2))


def test_fault_in_a_nested_record_names_the_whole_way_to_it():
    frame = header("Gossip", members=[[["a", "one"]]])
    with pytest.raises(WireError, match=r"^Gossip\.members: Member\.identity: Identity\.incarnation: expected a whole"):
        decode([frame])
    with pytest.raises(WireError, match=r"^Gossip\.members: expected a list of at least 1 values, got list"):
        decode([header("Gossip", members=[[]])])


def test_newer_peers_field_in_a_nested_record_is_ignored_and_a_default_fills_in():
    record = [["a", 1, "", "", "", "", "good"], [], [], "", "karma"]
    assert decode([header("Gossip", members=[record])]) == Gossip((Member(Identity("a", 1)),))
