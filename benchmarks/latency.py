"""The speed of training beside gossip over a slow link, as a share of bare training in the same run.

Agents, a process each, take local steps of a known length and exchange a model of 1.9 M float32 parameters, with the
default codec and period: bare, over loopback, and over a link of 100 Mbit/s and 50 ms each way, a proxy before each
agent. The three are measured in turn, and back, each for --seconds; ratios are medians over the rounds. A step is work
for one core, or with --idle a wait of that length, so that nothing but waiting for the network shows. "In
boundaries" is the share of the time that training spends there.

    python benchmarks/latency.py --json
    python benchmarks/latency.py --agents 4 --step-ms 20 --idle
"""

import logging
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from command import parser_of, show

PARAMETERS = 1_900_000
KINDS = ("bare", "loopback", "slow")


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = parser_of(__doc__ or "", repeats=4)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="length of one measurement")
    parser.add_argument("--step-ms", type=float, default=50, help="of one local step, alone on a core")
    parser.add_argument("--idle", action="store_true", help="a step is a wait, and takes no processor time")
    parser.add_argument("--parameters", type=int, default=PARAMETERS)
    parser.add_argument("--mbit", type=float, default=100, help="a second, each way")
    parser.add_argument("--delay-ms", type=float, default=50, help="each way")
    parser.add_argument("--codec", default="float32")
    given = parser.parse_args()
    os.environ.update({"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"})
    context = multiprocessing.get_context("spawn")
    barrier, pipes = context.Barrier(given.agents), [context.Pipe() for _ in range(given.agents)]
    processes = [
        context.Process(target=agent, args=(index, theirs, barrier, given), daemon=True)
        for index, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ours = [pipe for pipe, _ in pipes]
    rounds: list[dict[str, Any]] = []
    for repeat in range(given.repeats):
        rounds.append({})
        for kind in KINDS[::-1] if repeat % 2 else KINDS:
            rounds[-1][kind] = measure(kind, ours, given, repeat)
    for pipe in ours:
        pipe.send(None)
    for process in processes:
        process.join()

    def median(what: Callable[[dict[str, Any]], float]) -> float:
        return round(statistics.median(map(what, rounds)), 3)

    result = {
        "bare_steps_per_s": median(lambda each: each["bare"]["steps"]),
        "loopback_ratio": median(lambda each: each["loopback"]["steps"] / each["bare"]["steps"]),
        "slow_ratio": median(lambda each: each["slow"]["steps"] / each["bare"]["steps"]),
        "loopback_exchanges_per_s": median(lambda each: each["loopback"]["exchanges"]),
        "slow_exchanges_per_s": median(lambda each: each["slow"]["exchanges"]),
        "slow_skipped_per_s": median(lambda each: each["slow"]["skipped"]),
        "loopback_in_boundaries": median(lambda each: each["loopback"]["boundaries"]),
        "slow_in_boundaries": median(lambda each: each["slow"]["boundaries"]),
        "slow_ratios": [round(each["slow"]["steps"] / each["bare"]["steps"], 3) for each in rounds],
        "parameters": given.parameters,
        "step_ms": given.step_ms,
    }
    line = "{loopback_ratio:.1%} of the bare speed over loopback, {slow_ratio:.1%} over the slow link, "
    line += "{slow_exchanges_per_s:.2f} exchanges a second an agent begun or answered, {slow_skipped_per_s:.2f} skipped"
    show(result, given.json, line)


def measure(kind: str, pipes: list[Connection], given: Any, repeat: int) -> dict[str, float]:
    """Sums of steps a second, and what an agent exchanges and skips, on average."""
    from proxy import Proxy

    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy()) for _ in pipes] if kind == "slow" else []
        for proxy in proxies:
            for direction in (proxy.up, proxy.down):
                direction.bytes_per_s, direction.delay_s = given.mbit * 1e6 / 8, given.delay_ms / 1e3
        first = ""
        for index, pipe in enumerate(pipes):
            pipe.send((kind, proxies[index].url if proxies else None, first, repeat))
            address = pipe.recv()
            if proxies:
                host, port = address.removeprefix("tcp://").split(":")
                proxies[index].target = host, int(port)
            first = first or (proxies[0].url if proxies else address)
        found = [pipe.recv() for pipe in pipes]
    names = ("steps", "exchanges", "skipped", "boundaries")
    sums = dict(zip(names, map(sum, zip(*found, strict=True)), strict=True))
    return {"steps": sums["steps"], **{name: sums[name] / len(pipes) for name in names[1:]}}


def agent(index: int, pipe: Connection, barrier: Any, given: Any) -> None:
    """One of the processes: what it is asked for, until nothing is."""
    from agents import Peer
    from transport.link import Link

    logging.getLogger("gossamer").setLevel(logging.ERROR)
    step = (lambda: time.sleep(given.step_ms / 1e3)) if given.idle else working(given.step_ms / 1e3, barrier)
    start = {"w": np.random.default_rng(index).normal(size=given.parameters).astype(np.float32)}
    while (asked := pipe.recv()) is not None:
        kind, advertise, join, repeat = asked
        with ExitStack() as stack:
            peer: Peer | None = None
            link = Link("tcp://127.0.0.1:0")
            if kind == "bare":
                link.close()
                pipe.send("")
                barrier.wait()
            else:
                peer = stack.enter_context(
                    Peer(
                        start,
                        task=f"latency-{kind}-{repeat}",
                        link=link,
                        advertise=advertise,
                        join=[join] if join else [],
                        name=f"agent-{index}",
                        topology="complete",
                        codec=given.codec,
                        finish="gossip",
                        network="wan" if kind == "slow" else "lan",
                    )
                )
                pipe.send(link.address)
                peer.meet(start)
                peer.wait_for(given.agents, 120)
                barrier.wait()
            params, steps, between_s, began_s = start, 0, 0.0, time.perf_counter()
            while (took_s := time.perf_counter() - began_s) < given.seconds:
                step()
                steps += 1
                if peer is not None:
                    at_s = time.perf_counter()
                    params = peer.boundary(params)
                    between_s += time.perf_counter() - at_s
            view = peer.view() if peer is not None else None
            done = (view.me.report.exchanges, view.skipped) if view else (0, 0)
            barrier.wait()
        pipe.send((steps / took_s, *(each / took_s for each in (*done, between_s))))


def working(step_s: float, barrier: Any) -> Callable[[], None]:
    """A jitted step that takes so long, measured while all agents measure theirs."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def work(matrix: Any, count: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, x: jnp.tanh(x @ matrix), matrix)

    matrix = jnp.eye(192) * 0.5
    work(matrix, 10).block_until_ready()
    barrier.wait()
    timed = []
    for _ in range(5):
        began_s = time.perf_counter()
        work(matrix, 100).block_until_ready()
        timed.append((time.perf_counter() - began_s) / 100)
    count = max(1, round(step_s / min(timed)))

    def step() -> None:
        work(matrix, count).block_until_ready()

    return step


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

if __name__ == "__main__":
    main()
