"""Folders of agents that hold nested slices, as vectors in the common order of the model's coordinates."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agents.mixing.capacities import NESTED
from agents.mixing.nested import Nested
from agents.observe.assemble import Contribution, Notify, Source, Vector
from agents.observe.folders import FolderSource
from agents.tensors import Parameters

if TYPE_CHECKING:
    from agents.observe.evaluation import Judge


def padded(folders: FolderSource, judge: "Judge | None") -> Source:
    """The vectors of these folders as they are assembled. judge: of the task's model, where it is known."""
    map = judge.map if judge is not None else None
    return Padded(folders, map) if isinstance(map, Nested) else folders


class Padded:
    """What `FolderSource` reads, each vector with zeros where its agent holds nothing. map: of the task's model."""

    submodel: str = NESTED
    holds_own: bool = True
    layout: Parameters | None = None

    def __init__(self, folders: FolderSource, map: Nested) -> None:
        self._folders, self._map, self._capacities = folders, map, dict[str, float]()
        self.run, self.task, self.model, self.width = folders.run, folders.task, folders.model, folders.width
        self.parameters, self.blocks = map.size, map.blocks

    def contributions(self, notify: Notify) -> Iterator[Contribution]:
        """By name; a line for each that is no slice of this model."""
        for each in self._folders.contributions(notify):
            block = self._block(each.capacity, each.theta)
            if block is None:
                notify(
                    f"{each.agent} is missing: {each.theta.size} parameters are no slice of capacity {each.capacity:g}"
                )
                continue
            self._capacities[each.agent] = each.capacity
            yield each._replace(theta=self._map.padded(each.theta, block))

    def again(self, agent: str) -> Vector | None:
        """From its checkpoint."""
        theta = self._folders.again(agent)
        block = None if theta is None else self._block(self._capacities[agent], theta)
        return None if theta is None or block is None else self._map.padded(theta, block)

    def known(self) -> set[str]:
        """Those who have a folder there, and those whom any of them knew."""
        return self._folders.known()

    def _block(self, capacity: float, theta: Vector) -> int | None:
        """Up to which level it holds the model; None if it doesn't."""
        block = self.blocks.of_agent(0, capacity)
        return block if block is not None and self.blocks.held(block).size == theta.size else None
