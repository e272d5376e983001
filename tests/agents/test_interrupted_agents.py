"""Agents that are interrupted while they train: what they save is what their peers think that they have."""

from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from agents import load_run
from agents.agent import Agent
from agents.checkpoint import FILE, load
from agents.learning import leaves
from agents.settings import Gossiping, Learning, Placing
from sim import replay
from tests.e2e.live_agents import wait_until


@pytest.mark.parametrize(("rule", "kept"), [("tracking", "correction"), ("drift:0.1", "pull")])
def test_what_comes_in_while_an_interrupted_agent_drains_its_rule_learns_of_as_its_peers_do(
    tmp_path, monkeypatch, rule, kept
):
    """So the sum of what all have learned stays zero; and a replay of such a run is the same bit for bit."""
    agents, reports, peers, of = [], [], {}, Agent._peer
    monkeypatch.setattr(Agent, "_peer", lambda self, *given: peers.setdefault(self.name, of(self, *given)))
    with ThreadPoolExecutor(2) as threads:
        for k in range(2):
            learning = Learning(task="digits", steps=100_000, partition="dirichlet:0.1", optimizer="momentum", seed=1)
            gossiping = Gossiping(every="1steps", rule=rule, linger=0, settle=5, weigh="samples")
            own = {"name": f"agent-{k}", "run_dir": tmp_path / "agents" / f"agent-{k}", "shard": f"{k}/2"}
            join = (agents[0].address,) if agents else ()
            placing = Placing(listen="tcp://127.0.0.1:0", join=join, wait_for=2, evaluate=False, **own)
            agents.append(Agent(learning, gossiping, placing))
            reports.append(threads.submit(agents[k].run, lambda line: None))
        wait_until(lambda: [peer.view().me.report.exchanges > 20 for peer in peers.values()] == [True] * 2, "both mix")
        for agent, report in zip(agents, reports, strict=True):
            agent.halt()
            report.result(60)
    run, history = load_run(tmp_path), replay(tmp_path, exact=True, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == run.theta.tobytes()
    total, scale = 0.0, 0.0
    for agent in agents:
        saved = load(agent.run_dir / FILE)
        state = leaves.from_arrays(agent.prepared.learner.init(1).opt_state, list(saved.optimizer))
        learned = np.concatenate([np.ravel(each) for each in jax.tree.leaves(getattr(state, kept))]).astype(np.float64)
        total, scale = total + saved.facts["weight"] * learned, scale + saved.facts["weight"] * np.linalg.norm(learned)
    assert scale > 0 and np.linalg.norm(total) < 1e-3 * scale
