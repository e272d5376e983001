from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fake_peers import FakePeer


@pytest.fixture
def peer() -> Iterator[Callable[..., FakePeer]]:
    """Starts fake peers; they hang up at the end."""
    with ExitStack() as stack:

        def start(**settings: object) -> FakePeer:
            made = FakePeer(**settings)
            stack.callback(made.close)
            return made

        yield start
