"""What simulated gossip costs a round, against bare vmapped training of the same agents in the same run.

Digits, agents on a 4-regular graph, an MLP 64-64-10, one batch of 16 a turn, a tenth of the agents evaluated every
round. All three train and evaluate alike; medians of interleaved runs, after compiling. tape_ms: making the tape of
the asynchronous run and scheduling it, which asynchronous_ms contains. gossipy does the same where it is installed.

    python benchmarks/simulate.py --json
"""

import dataclasses
import importlib.util
import statistics
import time
from typing import Any

import numpy as np
from command import parser_of, show

from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from sim.conditions import Conditions
from sim.making import make_simulation
from sim.scheduling import Scheduler, best_widths
from sim.shards import Shards
from sim.simulation import Simulation
from sim.sources.exchange import Exchange
from sim.sources.push import Push
from sim.sources.push_sum import PushSum
from sim.sources.source import EventSource
from topology import random_regular


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=400, help="of one measurement")
    parser.add_argument("--delay", type=float, nargs=2, default=(0.0, 0.1), help="of a message, uniform, in rounds")
    parser.add_argument("--protocol", default="push", help="of the asynchronous run: push, exchange or push-sum")
    options = parser.parse_args()
    result = Bench(options.agents, options.rounds, tuple(options.delay), options.protocol).measure(options.repeats)
    if importlib.util.find_spec("gossipy"):
        result["gossipy_ms"] = gossipy(options.agents)
    parts = ", ".join(f"{name.removesuffix('_ms')} {value:.2f} ms" for name, value in result.items() if "_ms" in name)
    show(
        result,
        options.json,
        f"a round: {parts}; {{synchronous_ratio:.2f}} and {{asynchronous_ratio:.2f}} times the bare",
    )


class Bench:
    """The same agents, data and batches, run three ways."""

    def __init__(self, agents: int, rounds: int, delay: Any, protocol: str) -> None:
        self.agents, self.rounds_, self.delay = agents, rounds, delay
        self.task = dataclasses.replace(load_task("digits"), batch_size=16)
        self.learner = make_learner(self.task, "sgd", 0.1)
        self.graph = random_regular(agents, 4, seed=0)
        self.moments = np.arange(1.0, rounds + 1)
        self.protocol = {"exchange": Exchange, "push": Push, "push-sum": PushSum}[protocol]

    def measure(self, repeats: int) -> dict[str, Any]:
        """Milliseconds a round of each; compile_s: the first run of the asynchronous one, over a later one."""
        ways = {
            "bare_train": lambda: self.simulation().run_rounds([], self.rounds_, False),
            "synchronous": lambda: self.simulation().run_rounds([self.graph], self.rounds_, False),
            "asynchronous": self.asynchronous,
            "tape": self.tape,
        }
        first = {name: self.seconds(way) for name, way in ways.items()}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                times[name].append(self.seconds(way))
        seconds = {name: statistics.median(some) for name, some in times.items()}
        result: dict[str, Any] = {f"{name}_ms": round(1e3 * s / self.rounds_, 3) for name, s in seconds.items()}
        result["compile_s"] = round(first["asynchronous"] - seconds["asynchronous"], 2)
        for name in ("synchronous", "asynchronous"):
            result[f"{name}_ratio"] = round(
                statistics.median(a / b for a, b in zip(times[name], times["bare_train"], strict=True)), 3
            )
        return result

    def simulation(self) -> Simulation:
        """Fresh models, everything else as before."""
        return make_simulation(
            self.task, self.learner, self.agents, moments=self.moments, picked=max(1, self.agents // 10), seeds=[0]
        )

    def source(self) -> EventSource:
        """The asynchronous run's events, yet to be drawn."""
        return self.protocol(self.graph, Conditions(self.agents, 0, delay=self.delay))

    def asynchronous(self) -> None:
        """Draw the events and run them."""
        simulation = self.simulation()
        simulation.run([self.source()], self.rounds_, simulation.window(1.0), False)

    def tape(self) -> None:
        """Make the tape and its waves and batches, and run nothing."""
        shards = Shards(self.task, "iid", self.agents, [0])
        scheduler = None
        for block in self.source().blocks(self.rounds_, self.moments, 20_000 / 3 / self.agents):
            if scheduler is None:
                scheduler = Scheduler(self.agents, best_widths(block.tape, 16))
            scheduler.schedule(block.tape)
            trains = block.tape.kind == 0
            shards.rows(block.tape.agent[trains], block.tape.step[trains], 1)

    @staticmethod
    def seconds(way: Any) -> float:
        """How long one run takes, from its first event to its last model on the host."""
        began = time.perf_counter()
        way()
        return time.perf_counter() - began


def gossipy(agents: int, rounds: int = 20) -> float:
    """Milliseconds a round of gossipy's own event loop: the same data, model, batch, graph and evaluation."""
    import torch
    from gossipy.core import AntiEntropyProtocol, CreateModelMode, StaticP2PNetwork, UniformDelay
    from gossipy.data import DataDispatcher
    from gossipy.data.handler import ClassificationDataHandler
    from gossipy.model.handler import TorchModelHandler
    from gossipy.model.nn import TorchMLP
    from gossipy.node import GossipNode
    from gossipy.simul import GossipSimulator

    task = load_task("digits")
    parts = task.train_data, task.test_data
    train, test = ({name: torch.tensor(np.array(rows)) for name, rows in part.items()} for part in parts)
    data = ClassificationDataHandler(train["x"].float(), train["y"].long(), test["x"].float(), test["y"].long())
    dispatcher = DataDispatcher(data, n=agents, eval_on_user=False, auto_assign=True)
    adjacency = np.zeros((agents, agents))
    adjacency[tuple(random_regular(agents, 4, seed=0).edges.T)] = 1
    handler = TorchModelHandler(
        TorchMLP(64, 10, (64,)),
        torch.optim.SGD,
        {"lr": 0.1},
        torch.nn.CrossEntropyLoss(),
        local_epochs=1,
        batch_size=16,
        create_model_mode=CreateModelMode.MERGE_UPDATE,
    )
    network = StaticP2PNetwork(agents, adjacency + adjacency.T)
    nodes = GossipNode.generate(dispatcher, network, handler, round_len=100, sync=True)
    simulator = GossipSimulator(
        nodes, dispatcher, delta=100, protocol=AntiEntropyProtocol.PUSH, delay=UniformDelay(0, 10), sampling_eval=0.1
    )
    simulator.init_nodes(seed=0)
    simulator.start(n_rounds=2)
    began = time.perf_counter()
    simulator.start(n_rounds=rounds)
    return round(1e3 * (time.perf_counter() - began) / rounds, 1)


if __name__ == "__main__":
    main()
