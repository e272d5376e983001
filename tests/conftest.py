"""JAX in its strictest mood: an implicit promotion of dtypes or ranks fails. No test asserts on time.

Programs are compiled quickly rather than well, and each once (xla_flags.py).
"""

import gc
import logging
import os
from collections.abc import Iterator

import hypothesis
import jax
import pytest

from tests.xla_flags import compile_once, compile_quickly

compile_quickly()
compile_once()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("whatever the machine does meanwhile", deadline=None)
hypothesis.settings.load_profile("whatever the machine does meanwhile")


LONG = {"e2e", "notebooks", "pages", "sim"}
"""The folders of tests that take seconds each."""


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: tests wait for processes and deadlines, and with one more a sixth was idle."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first: what is left for the end is short, and no worker waits for another's."""
    items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: the collector needn't look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(autouse=True)
def levels_of_logs() -> Iterator[None]:
    """A command that a test calls in this process sets what is logged; the next test has it as it was."""
    names = ("gossamer", "gossamer.audit")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
