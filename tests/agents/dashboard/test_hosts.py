"""A page of another site must not read ours through a name of its own."""

import socket

import pytest

from agents.dashboard.hosts import is_ours, split_host


@pytest.mark.parametrize(
    ("header", "host"),
    {
        "localhost": "localhost",
        "LocalHost:8765": "localhost",
        "127.0.0.1:1": "127.0.0.1",
        "[::1]:8765": "::1",
        "[::1]": "::1",
        "": "",
        "a:b": "",
        "::1]": "",
        "[::1]x": "",
    }.items(),
)
def test_the_host_of_a_header(header: str, host: str):
    assert split_host(header) == host


@pytest.mark.parametrize("header", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "192.0.2.7", "lab.example:8765"])
def test_ours_are_addresses_in_numbers_and_the_name_that_was_given(header: str):
    assert is_ours(header, "lab.example")
    assert is_ours(socket.gethostname(), "127.0.0.1")


@pytest.mark.parametrize(
    "header", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "localhost.evil"]
)
def test_a_name_that_somebody_else_may_point_at_us_is_not(header: str):
    assert not is_ours(header, "127.0.0.1")
