"""Seeded chaos on the virtual network: real cores, thousands of schedules, every invariant after each.

    python -m tests.chaos.schedules --seeds 2000        the first 2000 schedules, on all processors
    python -m tests.chaos.schedules --seed 17           that one alone, with its schedule and what everybody sees

A schedule goes through chaos, then calm: views must agree again, exchanges end, agents draw together, and all finish
exactly. Time is virtual and nothing is random but by the seed, so a failing seed fails again.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import agents.mixing.layout
from tests.chaos import invariants, table
from tests.chaos.schedule import CHAOS_S, Schedule, drawn
from tests.chaos.swarm import Swarm

CHUNK = 3
"""Coordinates in a chunk, so that a small vector is a stream of many."""

LOOK_S = 0.25

HALVINGS = 3
"""The variance has halved after so many times what plain gossip needs, where that is more than a minute."""

RETURN_S, ONE_VIEW_S, CLOSER_S, REST_S, FINISH_S = 30.0, 20.0, 60.0, 45.0, 60.0
"""Within how long after the chaos all are back, views agree, agents are closer, exchanges over, all have finished."""


def check(seed: int) -> Schedule:
    """Run the schedule of this seed. Raises AssertionError for what doesn't hold, and whatever a core raised."""
    agents.mixing.layout.CHUNK = CHUNK
    schedule = drawn(seed)
    swarm = Swarm(schedule)
    while swarm.now < CHAOS_S:
        swarm.run(1.0)
        invariants.mean_is_conserved(swarm)
    swarm.calm()
    assert _within(swarm, RETURN_S, lambda: swarm.complete)
    if not swarm.agents:
        return schedule  # All have crashed, and none comes back.
    swarm.join_anew()
    assert _within(swarm, ONE_VIEW_S, lambda: invariants.views_agree(swarm)), f"no one view:\n{invariants.views(swarm)}"
    swarm.trains = False
    swarm.run(1.0)
    _closer(swarm)
    for loop in swarm.loops.values():
        loop.stops = True
    assert _within(swarm, REST_S, lambda: invariants.nothing_is_open(swarm)), "an exchange stays open for ever"
    invariants.nobody_waits(swarm)
    invariants.mean_is_conserved(swarm)
    invariants.lost_is_in_flight(swarm)
    _finish(swarm)
    invariants.tables_are_small(swarm)
    assert _within(swarm, ONE_VIEW_S, lambda: invariants.views_agree(swarm)), (
        f"views part again:\n{invariants.views(swarm)}"
    )
    return schedule


def _within(swarm: Swarm, for_s: float, condition: Callable[[], bool]) -> bool:
    """Whether this comes true in that time; looked at now and then."""
    end = swarm.now + for_s
    while not condition():
        if swarm.now >= end:
            return False
        swarm.run(LOOK_S)
    return True


def _closer(swarm: Swarm) -> None:
    """Invariant 2: with training off, exchanges bring agents together."""
    before = _spread(swarm)
    enough = max(before / 2, (1e-6 * invariants.scale(swarm)) ** 2)
    closer_s = CLOSER_S if len(swarm.agents) == 1 else max(CLOSER_S, HALVINGS * invariants.halving_s(swarm))
    closer = _within(swarm, closer_s, lambda: _spread(swarm) <= enough)
    assert closer, f"the variance among agents was {before:.3g} and is {_spread(swarm):.3g} after {closer_s:.0f} s"


def _finish(swarm: Swarm) -> None:
    """Everybody ends with the weighted mean of all; if one crashes meanwhile, the others end equal."""
    fault, weights = swarm.schedule.at_finish, [agent.weight for agent in swarm.agents.values()]
    mean = np.average([agent.theta.astype(np.float64) for agent in swarm.agents.values()], axis=0, weights=weights)
    if fault is not None:
        swarm.at(swarm.now + fault.when, lambda: swarm.befall(fault))
    for loop in swarm.loops.values():
        loop.finish()
    swarm.run(1.0)

    def unfinished() -> list[str]:
        return [name for name, agent in swarm.agents.items() if not agent.core.finish.complete]

    assert _within(swarm, FINISH_S, lambda: not unfinished()), f"not all finish: {unfinished()}"
    close = invariants.TOLERANCE * invariants.scale(swarm)
    thetas = {name: agent.theta for name, agent in swarm.agents.items()}
    expected = mean if len(thetas) == len(weights) else next(iter(thetas.values()), mean)
    for name, theta in thetas.items():
        off = float(np.abs(theta - expected).max())
        assert off <= close, f"{name} is {off:.2e} from {'the mean of all' if expected is mean else 'another'}"


def _spread(swarm: Swarm) -> float:
    """The weighted variance of the agents' vectors: no exchange makes it larger."""
    thetas = np.array([agent.theta for agent in swarm.agents.values()], np.float64)
    weights = np.array([agent.weight for agent in swarm.agents.values()])
    return float(np.average(((thetas - np.average(thetas, 0, weights)) ** 2).sum(1), weights=weights))


def failure(seed: int) -> str:
    """What is wrong with this seed, "" for nothing."""
    try:
        check(seed)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).splitlines() or [""])[0]
        return f"seed {seed}: {type(error).__name__} at {where.filename.split('/')[-1]}:{where.lineno}: {first}"
    return ""


def main() -> None:
    """Run schedules; exit 1 if one fails, with its number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="this schedule alone")
    parser.add_argument("--seeds", type=int, default=2000, help="so many schedules")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="write the table of docs/reliability.md")
    options = parser.parse_args()
    if options.seed is not None:
        print(drawn(options.seed))
        check(options.seed)
        print("every invariant holds")
        return
    began_s = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    failures = []
    with ProcessPoolExecutor(options.processes) as pool:
        for text in pool.map(failure, seeds, chunksize=4):
            if text:
                failures.append(text)
                print(f"{text}\n  python -m tests.chaos.schedules --seed {text.split()[1][:-1]}", flush=True)
    print(f"{options.seeds} schedules, {len(failures)} failed, {time.monotonic() - began_s:.0f} s")
    if options.write:
        what = f"{options.seeds} seeded schedules on the virtual network"
        table.write("schedules", what, f"{len(failures)} fail an invariant", "0", not failures)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
