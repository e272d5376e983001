"""A link whose process may open no more file descriptors: it can't call anybody anew, and goes on."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from transport.link import Link, LinkError
from transport.messages import Stranger

TIMEOUT_S = 15.0


@contextmanager
def none_left() -> Iterator[None]:
    """The process has as many open files as it may."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def until(condition: Callable[[], bool], *polled: Link) -> None:
    """Poll these links until the condition holds."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, f"waited {TIMEOUT_S} s in vain"
        for link in polled:
            list(link.poll(0.01))


def test_a_peer_that_goes_while_no_descriptor_is_left_doesnt_end_the_link() -> None:
    caller, called = Link(), Link("tcp://127.0.0.1:*")
    try:
        connection = caller.dial(called.address)
        until(lambda: caller.send(connection, Stranger()), caller, called)
        called.close()
        with none_left():
            until(lambda: not caller.send(connection, Stranger()), caller)
            with pytest.raises(LinkError, match="too many open files"):
                caller.dial("tcp://127.0.0.1:9")
        called = Link(called.address)
        until(lambda: caller.send(connection, Stranger()), caller, called)
    finally:
        caller.close()
        called.close()
