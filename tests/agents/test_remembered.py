"""An agent that starts again finds the swarm by the addresses in its checkpoint, where its --join is gone for good."""

import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from line_task import LINE

from agents import completion
from agents.agent import Agent
from agents.checkpoint import FILE, load_header
from agents.config import from_toml
from agents.peer import Peer
from agents.settings import Gossiping, Learning, Placing, Securing
from tests.e2e.live_agents import wait_until


@pytest.fixture
def start(tmp_path):
    """Runs an agent in a thread, in the folder of its name, until the block ends; gives its peer.

    Where it has run before it is resumed, or with `again` started with the same words.
    """
    (tmp_path / "task.py").write_text(LINE)

    @contextmanager
    def started(name, number, *join, again=False):
        settings = (
            Learning(task=str(tmp_path / "task.py"), optimizer="sgd", steps=10**9),
            Gossiping(every="0.05s", linger=0, settle=1000),
            Placing(run_dir=tmp_path / name, name=name, join=join, shard=f"{number}/3", evaluate=False),
            Securing(),
        )
        config = tmp_path / name / "config.toml"
        resumes = config.exists() and not again
        agent = Agent(*(from_toml(config, *map(type, settings)) if resumes else settings))
        peers: list[Peer] = []
        made = agent._peer
        agent._peer = lambda *given: peers.append(made(*given)) or peers[0]
        thread = threading.Thread(target=agent.run, args=(lambda line: None,))
        thread.start()
        try:
            wait_until(lambda: peers and peers[0].ready, f"{name} takes part")
            yield peers[0]
        finally:
            agent.halt()
            thread.join()

    return started


def others(peer):
    return {member.agent for member in peer.view().others}


@pytest.mark.parametrize("again", [False, True], ids=["--resume", "the same words"])
def test_the_agent_it_joined_through_is_gone_and_another_is_found(start, tmp_path, monkeypatch, again):
    monkeypatch.setattr(completion, "KNOWN_AFTER_S", 0.5)
    with ExitStack() as until_then:
        first = until_then.enter_context(start("first", 0))
        gone = first.address
        with start("third", 2, gone) as third:
            with start("second", 1, gone) as second:
                wait_until(lambda: others(second) == {"first", "third"}, "all have met")
            assert set(load_header(tmp_path / "second" / FILE).facts["addresses"]) == {gone, third.address}
            until_then.close()
            with start("second", 1, gone, again=again) as second:
                wait_until(lambda: "third" in others(second) and "second" in others(third), "the two have met")


def test_what_is_no_address_is_left_out():
    params = {"w": np.zeros(3, np.float32)}
    with Peer(params, task="t") as one, Peer(params, task="t", run=one.run, remembered=["x", one.address]) as other:
        wait_until(lambda: len(others(one)) == len(others(other)) == 1, "the two have met")
