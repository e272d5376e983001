"""What gossip costs training: two agents with 1.9 M parameters on two cores, two exchanges a second (each agent begins
one and answers one), against the same two processes training without any network.

The two are measured in turn, each for `--seconds`, in the order ABBA, and the ratio is the median over the pairs:
what else runs on a shared machine comes and goes more slowly than that.

    python benchmarks/overlap.py --json
"""

import json
import logging
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from command import parser_of, show

from agents.command.supervise import budget

AGENTS = 2
CHUNK = 64
TASK = str(Path(__file__).with_name("wide_mlp.py"))


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = parser_of(__doc__, repeats=6)
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement")
    parser.add_argument("--every", default="1s", help="as for `agent run`")
    options = parser.parse_args()
    os.environ.update(budget(AGENTS))
    pairs, exchanges = [], []
    measures = (train_bare, (options.seconds,)), (train_and_gossip, (options.seconds, options.every))
    for repeat in range(options.repeats):
        order = measures[::-1] if repeat % 2 else measures
        results = {work: together(work, *arguments) for work, arguments in order}
        bare, gossip = results[train_bare], results[train_and_gossip]
        pairs.append((sum(speed for speed, _ in bare), sum(speed for speed, _ in gossip)))
        exchanges += [each for _, each in gossip]
    result = {
        "bare_steps_per_s": round(statistics.median(bare for bare, _ in pairs), 2),
        "gossip_steps_per_s": round(statistics.median(gossip for _, gossip in pairs), 2),
        "ratio": round(statistics.median(gossip / bare for bare, gossip in pairs), 4),
        "exchanges_per_s": round(statistics.median(exchanges), 2),
    }
    show(result, options.json, "{ratio:.1%} of the bare speed, {exchanges_per_s:.1f} exchanges a second an agent")


def together(work, *arguments: object) -> list[tuple[float, float]]:  # type: ignore[no-untyped-def]
    """The same work in as many processes as there are agents, at once: (steps, exchanges) a second, of each."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(AGENTS)
    pipes = [context.Pipe() for _ in range(AGENTS)]
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=work, args=(index, pipe, barrier, folder, *arguments))
            for index, (_, pipe) in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        results = [ours.recv() for ours, _ in pipes]
        for process in processes:
            process.join()
    return results


def train_bare(index: int, pipe: Connection, barrier: Barrier, folder: str, seconds: float) -> None:
    """Local steps and nothing else."""
    import jax
    import numpy as np

    from agents.learning.data import batch_rows
    from agents.learning.learner import make_learner
    from agents.learning.loading import load_task

    task = load_task(TASK)
    learner = make_learner(task)
    state, data, step = learner.init(0), jax.device_put(dict(task.train_data)), 0
    rows = batch_rows(0, index, 0, CHUNK, task.batch_size, 4096)
    state, _ = learner.train(state, data, rows, *map(np.int32, (index, 0, 0)))  # Compiled and no more, as an agent is.
    barrier.wait()
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        rows = batch_rows(0, index, step, CHUNK, task.batch_size, 4096)
        state, losses = learner.train(state, data, rows, *map(np.int32, (index, step, CHUNK)))
        losses.block_until_ready()
        step += CHUNK
    pipe.send((step / (time.perf_counter() - began_s), 0.0))


def train_and_gossip(index: int, pipe: Connection, barrier: Barrier, folder: str, seconds: float, every: str) -> None:
    """The same task as a real agent trains it."""
    from agents.agent import Agent
    from agents.settings import Gossiping, Learning, Placing

    logging.getLogger("gossamer").setLevel(logging.ERROR)
    address = Path(folder) / "0" / "agent.json"
    if index:
        barrier.wait()
    placing = Placing(
        listen="tcp://127.0.0.1:0",
        join=(json.loads(address.read_text())["address"],) if index else (),
        shard=f"{index}/{AGENTS}",
        wait_for=AGENTS,
        stop_after=seconds,
        run_dir=Path(folder) / str(index),
        evaluate=False,
    )
    agent = Agent(Learning(task=TASK, steps=10**9), Gossiping(every=every, linger=0), placing)
    if not index:
        barrier.wait()
    report = agent.run()
    pipe.send((report.steps / report.train_s, report.exchanges / report.seconds))


if __name__ == "__main__":
    main()
