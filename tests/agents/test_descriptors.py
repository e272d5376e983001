"""Connections that an agent opens and those opened to it leave room for each other, and for its files."""

import resource

import pytest

from agents.descriptors import PER_CONNECTION, acceptable, dialable
from agents.manifest import Manifest
from agents.protocol.handshake import MAX_DIALED, MAX_ROUTES, Handshake
from transport.messages import VERSION, Hello


@pytest.mark.parametrize(("limit", "most"), [(64, 16), (1024, 256), (65536, MAX_DIALED),
                                             (resource.RLIM_INFINITY, MAX_DIALED)])  # fmt: skip
def test_half_of_the_descriptors_at_most_are_for_connections_that_we_open(monkeypatch, limit, most):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert dialable() == most
    assert limit == resource.RLIM_INFINITY or PER_CONNECTION * most <= limit / 2


@pytest.mark.parametrize(("limit", "most"), [(64, 16), (1024, 256), (65536, MAX_ROUTES),
                                             (resource.RLIM_INFINITY, MAX_ROUTES)])  # fmt: skip
def test_a_quarter_of_the_descriptors_is_left_for_files_when_all_connections_are_open(monkeypatch, limit, most):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert acceptable() == most
    assert limit == resource.RLIM_INFINITY or PER_CONNECTION * dialable() + most <= limit * 3 / 4


def test_no_more_are_dialed_whatever_records_name():
    made = Handshake(Hello(VERSION, "me", 1), Manifest(), 1, (), 8, dialed=5)
    dialed = sum(len(made.dial(f"tcp://10.0.0.{i}:1", 0.0)) for i in range(100))
    assert dialed == 5
