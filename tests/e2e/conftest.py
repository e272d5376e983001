from collections.abc import Iterator
from pathlib import Path

import pytest
from live_agents import Start, started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with started(tmp_path) as starter:
        yield starter
