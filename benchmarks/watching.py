"""What one who watches costs the agents that it watches: steps a second with `agent top` beside them and without.

Agents are peers of one process whose steps take STEP_S of waiting and no processor, so that who watches takes none of
theirs away; a round is a while without a watcher, one with a watcher, and one with a watcher that hangs (SIGSTOP).
What is compared are the phases of one round, whose load is alike; shown are medians over rounds. Processor time a step
is theirs alone, and says what a watcher costs them also where others load the machine.

    python benchmarks/watching.py --agents 4 --repeats 5
"""

import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
from command import parser_of, show

from agents import Peer

STEP_S, PHASE_S, BEGIN_S, SIZE = 0.005, 4.0, 3.0, 100_000
"""Seconds of a step, of a phase, and until a watcher has started; parameters."""


class Swarm:
    """Peers that train in threads of their own, an exchange every 10 steps."""

    def __init__(self, agents: int) -> None:
        self.peers: list[Peer] = []
        self.over = threading.Event()
        start = {"w": np.zeros(SIZE, np.float32)}
        for _ in range(agents):
            join = [self.peers[0].address] if self.peers else []
            self.peers.append(Peer(start, task="watching", join=join, keep_pace=False))
            self.peers[-1].meet(start)
        self.threads = [threading.Thread(target=self._train, args=(peer, start)) for peer in self.peers]
        for thread in self.threads:
            thread.start()

    def _train(self, peer: Peer, params: dict[str, np.ndarray]) -> None:
        while not self.over.wait(STEP_S):
            params = peer.boundary(params)

    def phase(self) -> np.ndarray:
        """(steps a second of all, steps in a second of processor time), over a phase."""
        before, began_s, core_s = sum(peer.step for peer in self.peers), time.monotonic(), time.process_time()
        time.sleep(PHASE_S)
        taken = sum(peer.step for peer in self.peers) - before
        return taken / np.array([time.monotonic() - began_s, time.process_time() - core_s])

    def close(self) -> None:
        """End all."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        for peer in self.peers:
            peer.close()


def main() -> None:
    """Measure, and print a line or one JSON object."""
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--agents", type=int, default=4)
    options = parser.parse_args()
    swarm = Swarm(options.agents)
    watched, hung = [], []
    words = [sys.executable, "-m", "agents.command.cli", "top", "--json", "--join", swarm.peers[0].address]
    for _ in range(options.repeats):
        alone = swarm.phase()
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as top:
            time.sleep(BEGIN_S)
            watched.append(swarm.phase() / alone)
            top.send_signal(signal.SIGSTOP)
            hung.append(swarm.phase() / alone)
            top.kill()
    swarm.close()
    result: dict[str, Any] = {"agents": options.agents, "rounds": [ratios.tolist() for ratios in watched]}
    for name, ratios in (("watched", watched), ("hung", hung)):
        result[name], result[f"{name}_core"] = np.median(ratios, axis=0).tolist()
    show(
        result,
        options.json,
        "{agents} agents take {watched:.3f} of their steps while they are watched, {watched_core:.3f} for as much "
        "processor time; {hung:.3f} and {hung_core:.3f} while a watcher hangs.",
    )


if __name__ == "__main__":
    main()
