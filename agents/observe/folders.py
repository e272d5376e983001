"""The vectors that agents saved in their folders, one agent at a time: the consensus of a swarm that has ended."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.checkpoint import CheckpointError, Header, checkpoints_in, load_header, load_theta, newest
from agents.mixing.blocks import Blocks
from agents.mixing.capacities import NESTED
from agents.observe.assemble import Contribution, Notify, Vector
from agents.observe.card import CONSENSUS, MismatchError
from agents.protocol.ownership import masses_in
from agents.submodel import WHOLE, parse
from topology.errors import GossamerError

MOST = 3
"""How many folders an error names."""

STRANGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What facts of another kind lead to than agents write: a folder may come from elsewhere."""


class FolderSource:
    """Reads the vectors that agents saved as checkpoints, one agent at a time, or as consensus models in their place.

    folders: of runs, with agents/*/ under them, or agents' own. Raises CheckpointError, MismatchError.
    tasks: names of the tasks that the agents trained; a folder may come from elsewhere, so nothing is loaded by them.
    """

    holds_own = True

    def __init__(self, folders: Iterable[Path], notify: Notify) -> None:
        self._paths: dict[str, Path] = {}
        self._known: set[str] = set()
        self._steps: dict[str, Any] = {}
        runs, self.tasks = set(), set[str]()
        for folder in folders:
            found = _found_in(folder)
            read = {path.parent.resolve() for path in found}  # Whose names their checkpoints have.
            self._known |= {at.name for at in folder.glob("agents/*") if at.is_dir() and at.resolve() not in read}
            for path in found:
                header = load_header(path)
                agent = str(header.facts.get("agent", path.parent.name))
                if self._paths.setdefault(agent, path).resolve() != path.resolve():
                    raise CheckpointError(
                        f"{self._paths[agent]} and {path} are both of agent {agent}: give one of them"
                    )
                try:
                    self._fit(path, header)
                    self._steps[agent] = header.facts.get("step", 0)
                    names = {agent, *map(str, header.facts.get("members", ()))}
                    if strange := [name for name in names if not name.isprintable()]:
                        raise ValueError(f"the name {strange[0][:40]!r}")
                except GossamerError:
                    raise
                except STRANGE as error:
                    raise CheckpointError(f"{path} holds facts that no agent writes ({error}): leave it out") from None
                self._known |= names
                runs.add(str(header.facts.get("run", "")))
                self.tasks.add(str(header.facts.get("task", "")))
        if len(runs) > 1:
            notify(f"these agents are of different runs ({', '.join(map(repr, sorted(runs)))}): assembled all the same")
        self.run, self.task = max(runs), max(self.tasks)
        for line in self._outdated():
            notify(line)

    def _outdated(self) -> Iterator[str]:
        """A line for each checkpoint that is older than a finish of its agent, as where its disk was full then."""
        for path in self._paths.values():
            with suppress(CheckpointError, *STRANGE):
                finished = dict(load_header(path.parent / CONSENSUS).facts["steps"])
                for agent, step in sorted(finished.items()):
                    if agent in self._steps and self._steps[agent] < step:
                        del self._steps[agent]  # Once is enough.
                        yield (
                            f"{self._paths[agent]} is older than the model that {agent} finished with, at step {step}: "
                            f"that is {path.parent / CONSENSUS}, which all who finished with it hold"
                        )

    def _fit(self, path: Path, header: Header) -> None:
        """Take the model's hash and size from the first checkpoint; raise MismatchError if a later one differs."""
        model, size = str(header.facts.get("of_model", header.facts.get("model", ""))), _size(header)
        layout = None if [name for name, _ in header.parameters] == ["theta"] else header.parameters
        first = next(iter(self._paths.values()))
        submodel, width = str(header.facts.get("submodel", WHOLE)), float(header.facts.get("width", 1.0))
        if path == first:
            self.model, self.parameters, self.layout = model, size, layout
            self.submodel, self.width = submodel, width
            self.blocks = Blocks.of_settings(header.facts, size)
            parse(submodel)
        elif (submodel, width) != (self.submodel, self.width):
            raise MismatchError(
                f"{path} is of a run with --submodel {submodel} --width {width:g}, {first} of one with --submodel "
                f"{self.submodel} --width {self.width:g}: give the folders of one run"
            )
        if (model, size) != (self.model, self.parameters):
            raise MismatchError(
                f"{path} holds another model than {first}: {size} parameters (hash {model[:8]}) where that has "
                f"{self.parameters} (hash {self.model[:8]}); give the folders of one run"
            )
        if Blocks.of_settings(header.facts, size) != self.blocks:
            raise MismatchError(
                f"{path} exchanged other parameters than {first}, by another --private: give the folders of one run"
            )
        self.layout = self.layout or layout  # Version 0.1.0 wrote no names.

    def contributions(self, notify: Notify) -> Iterator[Contribution]:
        """By name. An agent's weight is the one it had in the swarm."""
        for agent, path in sorted(self._paths.items()):
            facts = load_header(path).facts
            try:
                weight = float(facts.get("weight", facts.get("samples", 1)))
                step = int(facts["step"] if "step" in facts else max(facts["steps"].values()))
                spent = facts.get("privacy")
                privacy = {name: float(spent[name]) for name in ("epsilon_spent", "delta")} if spent else None
                capacity, part = float(facts.get("capacity", 1.0)), int(facts.get("part", -1))
                masses = masses_in(str(facts.get("masses", "")), self.blocks.count)
            except STRANGE as error:
                notify(f"{agent} is missing: {path} lacks its weight, step or part ({error})")
                continue
            shard = str(facts.get("shard", ""))
            yield Contribution(agent, weight, step, load_theta(path), privacy, shard, capacity, part, masses)

    def again(self, agent: str) -> Vector | None:
        """From its checkpoint."""
        return load_theta(self._paths[agent])

    def known(self) -> set[str]:
        """Those who have a folder there, and those whom any of them knew."""
        return self._known


def _size(header: Header) -> int:
    """Of the model: of a nested one an agent holds a slice alone, of any other all. Raises CheckpointError."""
    size = header.facts.get("of_size", header.size) if header.facts.get("submodel") == NESTED else header.size
    if not isinstance(size, int) or size < header.size:
        raise CheckpointError(f"a checkpoint of {header.size} parameters can't be a slice of a model of {size!r}")
    return size


def _found_in(folder: Path) -> list[Path]:
    """The checkpoint of each agent; where an agent has none that is whole, its consensus model."""
    paths = checkpoints_in(folder)
    with_one = {path.parent for path in paths}
    paths += [model for agent in sorted(folder.glob("agents/*/")) if agent not in with_one and (model := _model(agent))]
    paths = paths or [model for model in [_model(folder)] if model]
    if not paths:
        inside = [inner for inner in sorted(folder.glob("*")) if inner.is_dir()]
        deeper = [str(inner) for inner in inside if checkpoints_in(inner) or (inner / CONSENSUS).exists()]
        expected = f"give {' or '.join(deeper[:MOST])}" if deeper else "expected a run's folder or one agent's own"
        raise CheckpointError(f"no agent left a checkpoint in {folder}: {expected}")
    return paths


def _model(agent: Path) -> Path | None:
    """The consensus model that this agent ended with, if it holds one that is whole."""
    return newest(agent / CONSENSUS)
