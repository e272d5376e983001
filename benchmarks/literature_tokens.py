"""Token accounts (Danner and Jelasity 2018; gossip learning: Hegedus, Danner and Jelasity 2021) on Spambase.

All send at most one model an agent and period. Purely proactive: one at each turn, so a model waits there for half a
period or more. With the randomized token account, of reactivity A and capacity C, an agent saves tokens and passes a
useful model on at once. A message takes a hundredth of a period, so a model could take 100 steps a period; its age says
how many it took.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from literature_row import NO, YES, Row, listed, skipped, spread
from literature_spam import MISSING, PATH
from literature_spambase import spam_task
from literature_walks import Merging, Walks

from sim import simulate

NAME = "tokens"
AGENTS, DELAY = 100, 0.01
CLAIM = "up to an order of magnitude faster than purely proactive (Danner and Jelasity, abstract)"


def run(
    task: Any, tokens: tuple[int, int] | None, seed: int, rounds: int, merges: bool = False, agents: int = AGENTS
) -> tuple[Any, int]:
    """(the history, how many models were sent) of one run, each agent with its share of the mails."""
    kind, sources = type("Tokens", (Merging if merges else Walks,), {"tokens": tokens}), list[Walks]()

    def protocol(topology: Any, conditions: Any, *, local_steps: int, message_bytes: int) -> Walks:
        sources.append(kind(topology, conditions, local_steps=local_steps, message_bytes=message_bytes))
        return sources[-1]

    history = simulate(
        task,
        agents=agents,
        topology=f"regular:{min(20, agents // 2)}",
        rounds=rounds,
        protocol=protocol,
        delay=DELAY,
        seed=seed,
        eval_every=rounds / 5,
        picked=agents,
        progress=False,
    )
    return history, sum(sources[0].sent)


def rows(show: Callable[[str], None], seeds: Any = range(3), rounds: int = 100) -> list[Row]:
    """What docs/literature.md shows."""
    if not PATH.exists():
        return [skipped(NAME, "age of models, zero-one error", CLAIM, MISSING)]
    found: dict[tuple[bool, tuple[int, int] | None], dict[str, Any]] = {}
    for merges in (False, True):
        for tokens in (None, (1, 10), (5, 10), (10, 20)):
            runs = [run(spam_task(seed, 1e-3), tokens, seed, rounds, merges) for seed in seeds]
            found[merges, tokens] = {
                "age": np.array([history.of_agents("age")[-1].mean() for history, _ in runs]),
                "error": np.array([1 - history.accuracy[-1].mean() for history, _ in runs]),
                "early": np.array([1 - history.accuracy[1].mean() for history, _ in runs]),
                "messages": np.array([sent for _, sent in runs]),
            }
            shown = ", ".join(f"{name} {spread(each)}" for name, each in found[merges, tokens].items())
            show(f"merges {merges}, tokens {tokens}: {shown}")
    return [_row(merges, tokens, found, rounds, len(seeds)) for merges, tokens in found]


def _row(merges: bool, tokens: tuple[int, int] | None, found: Any, rounds: int, seeds: int) -> Row:
    mine, proactive = found[merges, tokens], found[merges, None]
    ratio = mine["age"] / proactive["age"]
    ours = f"age {spread(mine['age'])}, error {spread(mine['early'], '.3f')} then {spread(mine['error'], '.3f')}"
    ours += f", {mine['messages'].mean() / AGENTS / rounds:.2f} messages a turn"
    fewer = (mine["messages"] <= proactive["messages"] * 1.01).all()
    better = mine["early"].mean() < proactive["early"].mean()
    far = merges or ratio.mean() > 5
    why = f"yes: no more messages, a lower error after {rounds // 5} periods" + ("" if merges else ", 5 times the age")
    what = "merged" if merges else "single"
    account = f"A, C = {tokens[0]}, {tokens[1]}" if tokens else "proactive"
    return Row(
        reproduction=NAME,
        case=f"{what} walks, {account}: age after {rounds} periods, error after {rounds // 5} and {rounds}",
        reported=CLAIM if tokens and not merges else "faster than proactive" if tokens else "",
        ours=ours + (f": age {spread(ratio, '.2g')} times that of proactive" if tokens else ""),
        seeds=str(seeds),
        match="" if tokens is None else YES if fewer and better and far else NO,
        why=why if tokens else "what the others are beside",
        values={name: listed(each) for name, each in mine.items()},
    )
