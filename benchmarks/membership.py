"""What membership costs each agent of a large swarm: real cores on a virtual network, messages through the wire.

Agents join through one another, meet, rest, and then all finish at the same moment; each makes a sketch of its model
in every second. Bytes are those that an agent sends in a second; processor time is that of its core with its encoding
and decoding; the slowest message is the longest processor time that one took to be handled. Python looks for garbage
between two seconds, not meanwhile: here it looks through the objects of all agents, which in a real one are its own.

    python benchmarks/membership.py --agents 1000
    python benchmarks/membership.py --agents 1000 --keys        # every record signed, and verified where it is news
"""

import gc
import random
import sys
import time
from typing import Any

from command import parser_of, show

from agents.manifest import Manifest
from agents.protocol.core import GossipCore
from agents.protocol.events import Notice, Signal, Sketched
from agents.protocol.settings import CoreSettings
from agents.protocol.sketches import SKETCH_BYTES
from agents.protocol.virtual import Clock, Network, Node
from transport.credentials import Credentials
from transport.keys import new_key
from transport.messages import Address, AgentId, Identity, Liveness, Member, Message
from transport.signing import Signer
from transport.wire import decode, encode

TICK_S = 0.05
PHASE_S = 30.0
MEETING_S = 600.0
MANIFEST = Manifest().hash


class Nothing:
    """A `driver.Vectors` of agents that exchange nothing."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called: nobody exchanges anything here")


class Swarm:
    """agents: how many. keys: whether they have some. measured: bytes, messages and processor seconds since `reset`."""

    def __init__(self, agents: int, keys: bool) -> None:
        self.clock = Clock()
        self.network = Network(
            self.clock, lambda sender, receiver, message: (self._random.uniform(0.001, 0.02),), self._wire
        )
        self.gone: list[str] = []
        self.counted = False
        self._random = random.Random(0)
        self.reset()
        names = [AgentId(f"agent-{number:04}") for number in range(agents)]
        signers = {name: Signer(Credentials(new_key()), MANIFEST) if keys else None for name in names}
        address = {
            name: Address(f"tcp://10.0.{n // 250}.{n % 250}:5710" + (f"#{signer.key}" if signer else ""))
            for n, (name, signer) in enumerate(signers.items())
        }
        for number, name in enumerate(names):
            join = (address[self._random.choice(names[:number])],) if number else ()
            settings = CoreSettings("run", "ring", 0, 0.5, 1, 1, join=join, tick_s=TICK_S)
            me = Member(Identity(name, 1, address[name]), Liveness(state="training"))
            core = GossipCore(settings, me, signers[name])
            self._timed(core)
            self.network.add(core, Nothing(), self._signal, self._random.uniform(0, TICK_S))
        self.nodes: list[Node] = list(self.network.nodes.values())

    def reset(self) -> None:
        """Count from here on."""
        self.bytes, self.messages, self.seconds, self.slowest_s = 0, 0, 0.0, 0.0

    def run(self, for_s: float, what: str) -> dict[str, float]:
        """Let virtual time pass: what it costs an agent, with progress on standard error."""
        self.reset()
        self.counted = True
        for second in range(round(for_s)):
            gc.collect(0)
            gc.disable()
            for node in self.nodes:
                node.driver.handle(Sketched(second, False, bytes(SKETCH_BYTES)))
            self.clock.run(1.0)
            gc.enable()
            print(f"\r{what}: {second + 1} of {for_s:.0f} s ", end="", file=sys.stderr, flush=True)
        self.counted = False
        print(file=sys.stderr)
        size = len(self.nodes)
        return {
            "kB_per_s": round(self.bytes / 1e3 / for_s / size, 2),
            "core_share": round(self.seconds / for_s / size, 4),
            "slowest_ms": round(1e3 * self.slowest_s, 1),
            "gone": len(self.gone),
        }

    def meet(self) -> float:
        """Until everybody has met everybody: virtual seconds."""
        gc.disable()  # Of a swarm in one process it would look through millions of objects, again and again.
        while self.clock.now < MEETING_S:
            self.clock.run(1.0)
            met = [len(node.core.members.met()) for node in self.nodes]
            print(f"\rmeeting: {self.clock.now:.0f} s, at least {min(met)} met ", end="", file=sys.stderr, flush=True)
            if min(met) == len(self.nodes) - 1:
                break
        print(file=sys.stderr)
        gc.collect()
        gc.freeze()
        gc.enable()
        return self.clock.now

    def _timed(self, core: GossipCore) -> None:
        step = core.step

        def timed(event: Any, now: float) -> Any:
            start = time.process_time()
            effects = step(event, now)
            self._took(time.process_time() - start)
            return effects

        core.step = timed  # type: ignore[method-assign]

    def _took(self, seconds: float) -> None:
        self.seconds += seconds
        self.slowest_s = max(self.slowest_s, seconds)

    def _wire(self, message: Message, payload: Any) -> Message:
        if not self.counted:
            return message
        start = time.process_time()
        frames = encode(message)
        self.bytes += sum(map(len, frames))
        self.messages += 1
        decoded = decode(frames)
        self._took(time.process_time() - start)
        return decoded

    def _signal(self, signal: Signal) -> None:
        if isinstance(signal, Notice) and "is silent" in signal.text:
            self.gone.append(signal.text)


def main() -> None:
    """Measure, and print a line or one JSON object."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--keys", action="store_true", help="agents with keys, whose records are signed")
    parser.add_argument("--seconds", type=float, default=PHASE_S, help="of rest, and while all finish, in virtual time")
    options = parser.parse_args()
    swarm = Swarm(options.agents, options.keys)
    result: dict[str, Any] = {"agents": options.agents, "met_s": swarm.meet()}
    rest = swarm.run(options.seconds, "at rest")
    for node in swarm.nodes:
        node.driver.publish(state="settling")
    finish = swarm.run(options.seconds, "all finish")
    informed = [sum(m.state == "settling" for m in node.core.members.met()) for node in swarm.nodes]
    result |= {f"rest_{name}": value for name, value in rest.items()}
    result |= {f"finish_{name}": value for name, value in finish.items()}
    result["informed"] = round(sum(informed) / len(informed) / max(1, len(informed) - 1), 3)
    show(
        result,
        options.json,
        "{agents} agents met in {met_s:.0f} s. At rest each sends {rest_kB_per_s} kB/s and takes {rest_core_share:.1%} "
        "of a core; while all finish {finish_kB_per_s} kB/s and {finish_core_share:.1%}. The slowest message took "
        "{finish_slowest_ms} ms. Declared gone: {finish_gone}.",
    )


if __name__ == "__main__":
    main()
