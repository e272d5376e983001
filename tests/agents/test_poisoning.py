"""One trusted agent of eight lies, one way or the other: the others' merged model is as good as without it, and equal.

Real learners, replicas and cores on the virtual network; the figures of more cases stand in docs/measurements.md.
"""

from functools import cache

import numpy as np
import pytest

from tests.agents.learning_swarm import LearningSwarm, Liar

AGENTS, LIAR = 8, 3
EVERY = 10
PLAN = {"partition": "dirichlet:0.1", "steps": 200, "every": EVERY}


def everywhere(value):
    return lambda theta: np.full_like(theta, value)


def shifted(labels):
    return ((labels + 1) % 10).astype(labels.dtype)


LIARS = {
    "NaN": Liar(everywhere(np.nan)),
    "1e30": Liar(everywhere(1e30)),
    "1e17": Liar(everywhere(1e17)),
    "flipped times ten": Liar(lambda theta: -10 * theta, faster=EVERY),
    "shifted labels at every step": Liar(labels=shifted, faster=EVERY),
    "weight 1e300": Liar(lambda theta: -theta, weight=1e300),
}


@cache
def undisturbed() -> float:
    """Merged accuracy of the seven others, with nobody in the liar's place."""
    swarm = LearningSwarm(AGENTS, **PLAN)
    swarm.leave_out(LIAR)
    swarm.train()
    return swarm.accuracy()


@pytest.mark.parametrize("kind", LIARS)
def test_a_liar_costs_the_others_no_two_points(kind):
    swarm = LearningSwarm(AGENTS, **PLAN, liars={LIAR: LIARS[kind]})
    swarm.train()
    assert swarm.accuracy() >= undisturbed() - 0.02
    assert swarm.finish()
    assert swarm.accuracy() >= undisturbed() - 0.02
    thetas = [agent.theta for agent in swarm.honest]
    for theta in thetas:
        np.testing.assert_allclose(theta, thetas[0], atol=1e-5)
    neighbors = [swarm.agents[LIAR - 1], swarm.agents[LIAR + 1]]
    assert all(agent.node.core.members.me.report.alarm.startswith(f"{LIAR:02} ") for agent in neighbors)


def test_honest_exchanges_are_not_clipped():
    swarm = LearningSwarm(AGENTS, **PLAN)
    swarm.train()
    accounts = [account for agent in swarm.agents for account in agent.node.core.exchanges.ledger.accounts.values()]
    assert not any(account.clipped for account in accounts)
    assert sum(account.accepted for account in accounts) > 20 * AGENTS
    assert not any(account.rejected or account.limited or account.quarantines for account in accounts)


def test_a_partition_heals_soon_though_every_second_neighbor_is_far():
    """Nobody is taken for a liar: who comes back is nearer with each exchange."""
    swarm, seen = LearningSwarm(AGENTS, partition="dirichlet:0.1", steps=640, every=4), {}
    start_s = swarm.clock.now
    for after_s, cut in ((10, {agent.name for agent in swarm.agents[:4]}), (20, set())):
        swarm.clock.at(start_s + after_s, lambda cut=cut: setattr(swarm, "cut", cut))
    for after_s in (9, 19, 30):
        swarm.clock.at(start_s + after_s, lambda after_s=after_s: seen.update({after_s: swarm.distance()}))
    swarm.train()
    assert seen[19] > 1.5 * seen[9]
    assert seen[30] < seen[9]
    accounts = [account for agent in swarm.agents for account in agent.node.core.exchanges.ledger.accounts.values()]
    assert sum(account.clipped for account in accounts) > 0
    assert not any(account.quarantines for account in accounts)


def test_without_clipping_a_liar_ruins_them():
    """The attack is one."""
    swarm = LearningSwarm(AGENTS, **PLAN, liars={LIAR: LIARS["flipped times ten"]}, clip=np.inf)
    swarm.train()
    assert swarm.accuracy() < undisturbed() - 0.2
