"""How an agent chooses among its neighbors, by name. Without NumPy, which `agent --help` need not load."""

from __future__ import annotations

from topology.errors import need

CHOICES = ("uniform", "roundrobin", "fastest")
"""Each equally likely; one after the other; by how long exchanges with them took."""

UNIFORM = CHOICES[0]


def need_choice(choose: str, topology: str = "") -> None:
    """Raise `TopologyError` unless there is such a choice, and it is one with this topology.

    topology: a name, "" for one without rounds of its own. Where it says in each round whom an agent meets, nothing is
    left to choose.
    """
    need(choose in CHOICES, f"choose is {', '.join(CHOICES[:-1])} or {CHOICES[-1]}", choose=choose)
    if choose != UNIFORM and topology:
        from topology.names import overlay  # Late, as NumPy comes with it.
        from topology.schedules import Schedule

        fixed = isinstance(overlay(topology, 4), Schedule)
        need(not fixed, f"{topology} says whom an agent meets in each round: leave choose at {UNIFORM}", choose=choose)
