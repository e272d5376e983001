"""Which addresses are of use to whom, and that what is none is seen to be none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.addresses import AddressError, advertised, is_address, is_loopback, split

NONE = ["", "foo", "tcp://", "tcp://a", "tcp://a:", "tcp://a:x", "tcp://a:65536", "tcp://a:1:2", "tcp:// :1",
        "ipc:///x", "inproc://x", "udp://a:1", "tcp://a:1\n", "tcp://a:\u0661",
        "tcp://1.2.3.4:1;5.6.7.8:2", "tcp://[]:1"]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address_is_refused_showing_it(text):
    with pytest.raises(AddressError) as caught:
        split(text)
    assert repr(text) in str(caught.value)
    assert not is_address(text)
    assert not is_loopback(text)


@given(st.text(max_size=20) | st.from_regex(r"tcp://\S{0,9}:\d{0,6}"))
def test_any_text_is_an_address_or_none(text):
    assert is_address(text) in (True, False)
    assert is_loopback(text) in (True, False)


@pytest.mark.parametrize(
    ("address", "parts", "loopback"),
    [
        ("tcp://127.0.0.1:5710", ("127.0.0.1", 5710), True),
        ("tcp://127.9.9.9:0", ("127.9.9.9", 0), True),
        ("tcp://localhost:1", ("localhost", 1), True),
        ("tcp://[::1]:5710", ("::1", 5710), True),
        ("tcp://[fe80::1%eth0]:5710", ("fe80::1%eth0", 5710), False),
        ("tcp://10.0.0.1:65535", ("10.0.0.1", 65535), False),
        ("tcp://my-host.example:5710", ("my-host.example", 5710), False),
    ],
)
def test_host_and_port(address, parts, loopback):
    assert split(address) == parts
    assert is_loopback(address) == loopback


def test_loopback_is_advertised_only_where_everybody_is_local():
    local, remote = "tcp://127.0.0.1:1", "tcp://192.0.2.7:1"
    assert advertised(local, []) == local
    assert advertised(local, [local]) == local
    assert advertised(local, [local, remote]) == ""
    assert advertised(remote, [local]) == remote
    assert advertised("", [local]) == ""
    assert advertised("tcp://0.0.0.0:9", [local]) == "tcp://127.0.0.1:9"
    with pytest.raises(AddressError):
        advertised(remote, ["nonsense"])
