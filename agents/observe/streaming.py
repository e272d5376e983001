"""The vectors of a running swarm, one agent at a time."""

import math
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from agents.mixing.blocks import Blocks
from agents.mixing.bounds import MAX_WEIGHT
from agents.observe.assemble import Contribution, Notify, Vector
from agents.observe.card import privacy_of
from agents.observe.errors import NoVector
from agents.observe.observer import Observer
from agents.observe.records import vector_weight
from agents.protocol.limits import EXACT_S
from agents.protocol.ownership import ROUNDING, masses_in
from agents.submodel import WHOLE, parse, subnetwork_count
from agents.tensors import Parameters
from agents.values import SettingsError
from transport.messages import Member, Welcome

VAIN_S = 60.0
"""So long we wait in all for members whose vectors don't come; whoever is left then is not asked."""

EQUAL_S = EXACT_S
"""How long agents that have trained may take to become equal."""

ATTEMPTS = 4
"""To pull the vector of an agent that changes its subnetwork meanwhile, each by its latest record."""

REFRESH_S = 1.0
"""How long such a record is waited for."""


def shared_out_by(welcome: Welcome) -> tuple[str, float]:
    """How the swarm shares its model out, and how wide that is; none and 1 where it states what makes no sense."""
    submodel, width = welcome.settings.get("submodel", WHOLE), welcome.settings.get("width", 1.0)
    try:
        parse(str(submodel))
    except SettingsError:
        submodel = WHOLE
    usable = isinstance(width, int | float) and 0 < width < math.inf
    return str(submodel), float(width) if usable and isinstance(width, int | float) else 1.0


def chunks_of_whole(welcome: Welcome) -> tuple[slice, ...]:
    """The chunks in which each agent serves its vector; none where agents hold a part, or keep some to themselves.

    Raises ScopeError.
    """
    blocks = Blocks.of_settings(welcome.settings, welcome.parameters)
    whole = blocks.scope.size == welcome.parameters and not blocks.nested
    return blocks.scope.chunks() if whole and subnetwork_count(shared_out_by(welcome)[0]) == 1 else ()


class SwarmSource:
    """Pulls the vectors of a running swarm, one agent at a time; a context manager.

    welcome: of an agent whose model is the swarm's. expect: whom to ask first.
    spool: the folder in which vectors are kept until they are compared and judged, when the swarm may have gone.
    """

    layout: Parameters | None = None
    holds_own = False

    def __init__(self, observer: Observer, welcome: Welcome, expect: Collection[str], spool: Path) -> None:
        self.run, self.model, self.parameters = welcome.run, welcome.model, welcome.parameters
        self.submodel, self.width = shared_out_by(welcome)
        self.blocks = Blocks.of_settings(welcome.settings, welcome.parameters)
        self.task = next((member.report.task for member in observer.alive() if member.agent == welcome.agent), "")
        self._most_weight = (1.0 if welcome.settings.get("weigh") == "equal" else MAX_WEIGHT) * (1 + ROUNDING)
        self._observer = observer
        self._expect = frozenset(expect)
        self._kept: dict[str, int] = {}
        self._spool: IO[bytes] | None = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - see __exit__

    def __enter__(self) -> "SwarmSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._spool is not None:
            self._spool.close()

    def contributions(self, notify: Notify) -> Iterator[Contribution]:
        """Those we expect and those we are connected with before others, who may be made up."""
        self._observer.reach()
        present = self._observer.alive()
        present.sort(key=lambda m: (m.agent not in self._expect, not self._observer.reached_at(m.agent), m.agent))
        vain_s = 0.0
        for asked, member in enumerate(present):
            if vain_s > VAIN_S:
                notify(f"{len(present) - asked} more are missing: not asked, as others were for {vain_s:.0f} s in vain")
                return
            if (weighs := vector_weight(member)) > self._most_weight:
                notify(f"{member.agent} is missing: it claims to weigh {weighs:g}, of at most {self._most_weight:g}")
                continue
            began_s = time.monotonic()
            try:
                member, theta = self._pulled(member)
            except NoVector as error:
                vain_s += time.monotonic() - began_s
                notify(f"{member.agent} is missing: {error}")
                continue
            self._keep(member.agent, theta, notify)
            privacy = privacy_of([member]).get(member.agent)
            yield Contribution(
                *(member.agent, vector_weight(member), member.report.step, theta, privacy, member.report.shard),
                member.report.capacity,
                member.report.part,
                masses_in(member.report.masses, self.blocks.count, self._most_weight),
            )

    def _pulled(self, member: Member) -> tuple[Member, Vector]:
        """An agent's vector, with the record that it goes with. Raises NoVector.

        Who changes its subnetwork meanwhile is asked again, as long as its record shows that it did.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return member, self._observer.pull(member, self.parameters, self._chunks(member))
            except NoVector:
                latest = self._latest(member) if member.report.part >= 0 and attempt < ATTEMPTS else member
                if (latest.state, latest.report.part) == (member.state, member.report.part):
                    raise
                member = latest
        raise AssertionError("unreachable")

    def _latest(self, member: Member) -> Member:
        """The record of this agent, asked for again."""
        self._observer.refresh(REFRESH_S)
        return next((other for other in self._observer.alive() if other.agent == member.agent), member)

    def _chunks(self, member: Member) -> tuple[slice, ...]:
        """What this member serves. Raises NoVector."""
        own = self.blocks.of_agent(0, member.report.capacity)
        if own is None:
            raise NoVector(f"its capacity {member.report.capacity:g} is none of this model's")
        return self.blocks.held(own).chunks()

    def again(self, agent: str) -> Vector | None:
        """From the spool."""
        if self._spool is None or agent not in self._kept:
            return None
        self._spool.seek(self._kept[agent])
        return np.fromfile(self._spool, np.float32, self.parameters)

    def known(self) -> set[str]:
        """All members that have been seen and haven't published that they left."""
        return {member.agent for member in (*self._observer.gone(), *self._observer.alive()) if member.state != "left"}

    def _keep(self, agent: str, theta: Vector, notify: Notify) -> None:
        if self._spool is None:
            return
        try:
            place = self._spool.seek(0, os.SEEK_END)
            theta.tofile(self._spool)
            self._kept[agent] = place
        except OSError as error:
            notify(
                f"agents' vectors can't be kept to be compared and judged ({error}): only the merged model is judged"
            )
            self._kept.clear()
            self._spool.close()
            self._spool = None
