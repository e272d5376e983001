"""One schedule of chaos, drawn from a seed: a swarm, its network, and what befalls its agents and when.

The same seed gives the same schedule, whatever ran before. `str(schedule)` is what a failing seed prints.
"""

import random
from dataclasses import dataclass, replace

CHAOS_S = 12.0
"""For so long things go wrong; afterwards all is fair."""

KINDS = (
    "partition", "oneway", "isolate", "pause", "crash", "crash", "leave", "join", "pace", "weather", "weather",
    "replay", "liar",
)  # fmt: skip


ENDS = ("crash", "leave")
"""Kinds that end an agent, for good where they have no value."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at a moment. who: an agent, or all that are concerned; for_s: how long; value: how much."""

    when: float
    kind: str
    who: tuple[str, ...] = ()
    for_s: float = 0.0
    value: tuple[float, ...] = ()

    def __str__(self) -> str:
        values = " ".join(f"{each:g}" for each in self.value)
        return f"{self.when:5.2f} s {self.kind} {','.join(self.who)} for {self.for_s:.2f} s {values}".rstrip()


@dataclass(frozen=True)
class Schedule:
    """seed: of everything. agents: their names, the founder first. periods_s: between two of their boundaries.

    behind_nat: who can't be dialed. at_finish: what goes wrong while all finish, counted from there.
    """

    seed: int
    agents: tuple[str, ...]
    parameters: int
    topology: str
    weights: tuple[float, ...]
    alphas: tuple[float, ...]
    periods_s: tuple[float, ...]
    behind_nat: frozenset[str]
    faults: tuple[Fault, ...]
    at_finish: Fault | None

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {len(self.agents)} agents, {self.parameters} parameters, {self.topology}, "
            f"weights {self.weights}, alphas {self.alphas}, periods {self.periods_s}, behind NAT "
            f"{','.join(sorted(self.behind_nat)) or 'none'}"
        )
        finish = [f"  at the finish: {self.at_finish}"] if self.at_finish else []
        return "\n".join([head, *(f"  {fault}" for fault in self.faults), *finish])

    @property
    def honest(self) -> bool:
        """Whether nobody lies."""
        return all(fault.kind != "liar" for fault in self.faults)


def drawn(seed: int) -> Schedule:
    """The schedule of this seed."""
    draw = random.Random(f"chaos/{seed}")
    names = tuple(f"agent-{number}" for number in range(draw.randint(2, 6)))
    weights = draw.choice([(1.0,), (1.0, 3.0, 0.25, 100.0)])
    faults = [_fault(draw, names) for _ in range(draw.randint(1, 8))]
    schedule = Schedule(
        seed,
        names,
        draw.choice([1, 7, 30]),
        draw.choice(["complete", "ring", "exponential", "base:2"]),
        tuple(draw.choice(weights) for _ in names),
        tuple(draw.choice([0.5, 0.5, 0.3, 0.9]) for _ in names),
        tuple(round(draw.uniform(0.2, 0.6) * draw.choice([1, 1, 1, 6]), 3) for _ in names),
        frozenset(draw.sample(names[1:], draw.choice([0, 0, 1]))),
        tuple(sorted(faults, key=lambda fault: fault.when)),
        _at_finish(draw, names),
    )
    return _with_more_behind_nat(schedule, random.Random(f"chaos/nat/{seed}"))


def _with_more_behind_nat(schedule: Schedule, draw: random.Random) -> Schedule:
    """The same with two or three behind NAT, in one of four.

    Who reaches them all stays, or comes back; and nobody lies, as without keys a liar can speak for whom others reach.
    """
    names, many = schedule.agents, draw.choice([0, 0, 0, 0, 0, 0, 2, 3])
    if not 0 < many < len(names):
        return schedule
    hidden = frozenset(draw.sample(names[1:], many))
    kept = (f for f in schedule.faults if f.kind not in ENDS or _brings_back(f, f.who[0] in hidden))
    last = schedule.at_finish
    return replace(
        schedule,
        behind_nat=hidden,
        faults=tuple(fault for fault in kept if fault.kind != "liar"),
        at_finish=None if last and last.kind == "crash" and last.who[0] not in hidden else last,
    )


def _brings_back(fault: Fault, is_hidden: bool) -> bool:
    """Whether those that reach each other through others alone see this start again: by a number above the last one."""
    return fault.value != (-1000,) if is_hidden else bool(fault.value)


def _at_finish(draw: random.Random, names: tuple[str, ...]) -> Fault | None:
    """Nobody is silent for long enough to count as gone, but who crashes."""
    when, one = draw.uniform(0, 0.5), (draw.choice(names),)
    kind = draw.choice(["", "", "weather", "pause", "crash"])
    match kind:
        case "weather":
            return Fault(when, kind, (), 5.0, (0.2, 0.3, 0.2))
        case "pause":
            return Fault(when, kind, one, draw.uniform(0.1, 1.5))
        case "crash":
            return Fault(when, kind, one)
    return None


def _fault(draw: random.Random, names: tuple[str, ...]) -> Fault:
    kind, when = draw.choice(KINDS), draw.uniform(0, CHAOS_S)
    for_s, one = draw.choice([draw.uniform(0.1, 1), draw.uniform(1, 12)]), (draw.choice(names),)
    match kind:
        case "partition" | "oneway":
            side = tuple(sorted(draw.sample(names, draw.randint(1, max(1, len(names) - 1)))))
            return Fault(when, kind, side, for_s)
        case "weather":  # lost, doubled, delay_s
            return Fault(when, kind, (), for_s, (draw.choice([0, 0.1, 0.5]), draw.choice([0, 0.3]),
                                                  draw.choice([0.01, 0.5, 3])))  # fmt: skip
        case "replay":  # how likely a message comes once more, and how much later
            return Fault(when, kind, (), for_s, (draw.choice([0.05, 0.3]), draw.choice([2, 15])))
        case "pace":  # how fast a clock goes
            return Fault(when, kind, one, for_s, (draw.choice([0.5, 0.8, 1.25, 2]),))
        case "crash" | "leave":  # by how much the incarnation jumps, none for who doesn't come back
            jump = draw.choice([(), (1,), (1,), (1000,), (-1000,)])
            return Fault(when, kind, one, for_s, jump)
        case "join":
            return Fault(when, kind, (f"late-{draw.randrange(1000)}",), for_s, (draw.choice([1, 3]),))
        case "liar":
            return Fault(when, kind, ("liar",), for_s, (draw.randrange(1 << 30),))
    return Fault(when, kind, one, for_s)
