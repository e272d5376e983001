"""What an agent costs a round in a small swarm and in a large one: a linear model of 58 parameters, one sample each.

The cost is the slope between a short run and a longer one, so that what is done once doesn't count; setup_s is the rest
of the short run of the large swarm, compiling included. Peak memory is of the whole process.

    python benchmarks/population.py --json
"""

import argparse
import json
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.task import Task
from sim import simulate

FEATURES = 57
REPEATS = 2


def main() -> None:
    """Measure, and print a line for each protocol or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--agents", type=int, nargs=2, default=(10_000, 1_000_000), help="a small swarm and a large one"
    )
    parser.add_argument("--topology", default="regular:4")
    parser.add_argument("--protocols", nargs="+", default=("synchronous", "push", "exchange"))
    parser.add_argument("--agent-rounds", type=int, default=12_000_000, help="how much longer the longer run is")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    task, result = linear(max(options.agents)), {}
    for protocol in options.protocols:
        each = [cost(task, agents, options.topology, protocol, options.agent_rounds) for agents in options.agents]
        found = {"small_us": each[0][0], "large_us": each[1][0], "setup_s": each[1][1]}
        result[protocol] = {name: round(value, 3) for name, value in found.items()}
        result[protocol]["ratio"] = round(each[1][0] / each[0][0], 2)
        if not options.json:
            small, large = (f"{us:.2f} us among {n:,}" for (us, _), n in zip(each, options.agents, strict=True))
            print(f"{protocol}, a round of an agent: {small}, {large}: {result[protocol]['ratio']}", flush=True)
    result["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    print(json.dumps(result) if options.json else f"peak memory {result['peak_gb']} GB")


def linear(samples: int) -> Task:
    """Two classes separated by a plane, as many samples as there are agents."""
    random = np.random.default_rng(0)
    x = random.standard_normal((samples, FEATURES), np.float32)
    y = (x @ random.standard_normal(FEATURES, np.float32) > 0).astype(np.float32)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"w": jnp.zeros(FEATURES), "b": jnp.zeros(())}

    def margins(params: Any, batch: Any) -> jax.Array:
        return batch["x"] @ params["w"] + params["b"]

    def loss(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        z = margins(params, batch)
        return jnp.mean(jnp.logaddexp(0, z) - batch["y"] * z)

    def metrics(params: Any, batch: Any) -> dict[str, jax.Array]:
        return {"accuracy": jnp.mean((margins(params, batch) > 0) == (batch["y"] > 0.5))}

    few = {"x": x[:1000], "y": y[:1000]}
    return Task(init, loss, metrics, {"x": x, "y": y}, few, batch_size=1)


def cost(task: Task, agents: int, topology: str, protocol: str, more: int) -> tuple[float, float]:
    """(microseconds for a round of one agent, seconds of a run besides its rounds)."""
    settings = {"agents": agents, "topology": topology, "protocol": protocol, "progress": False, "picked": 10}
    short = 4
    long = short + max(1, more // agents)
    seconds: dict[int, list[float]] = {short: [], long: []}
    for rounds in (short, long) * REPEATS:  # The first two compile.
        began = time.perf_counter()
        simulate(task, rounds=rounds, eval_every=rounds, **settings)
        seconds[rounds].append(time.perf_counter() - began)
    slope = (min(seconds[long]) - min(seconds[short])) / (long - short) / agents
    return 1e6 * slope, seconds[short][0] - short * agents * slope


if __name__ == "__main__":
    main()
