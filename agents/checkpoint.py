"""An agent's checkpoint: its parameters by name, its optimizer's state and where it stood, in one safetensors file.

Anybody can open the file: its keys are the names of the parameters. The optimizer's leaves are called optimizer/0,
optimizer/1 and so on, in tree order; `learned` is what its codec knows of the differences to others, where it learns
anything. The metadata holds the order of the parameters in theta, and the facts.

The last few are kept, checkpoint.1.safetensors being the one before. What is read is checked; whoever looks for an
agent's checkpoint passes over one that is torn or was altered, with a warning, and takes the one before.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.durable import generations
from agents.mixing.capacities import NESTED
from agents.tensors import (
    Array,
    Parameters,
    Tensors,
    Vector,
    cooked,
    joined,
    named,
    of_json,
    opened,
    raw,
    write_safetensors,
)
from topology.errors import GossamerError

log = logging.getLogger("gossamer")

FILE = "checkpoint.safetensors"

BEST = "best.safetensors"
"""The checkpoint whose model scored best while it trained, where models are judged then."""

DAMAGED = ".damaged"
"""What is appended to the name of a checkpoint that can't be read, once its agent goes on without it."""


class CheckpointError(GossamerError, ValueError):
    """A checkpoint is missing, damaged, or of another model. One line: what was expected, what came, what to do."""

    code = "G403"


@dataclass(frozen=True)
class Checkpoint:
    """The content of one checkpoint file.

    theta: (P,). optimizer: the leaves of the optimizer's state, in tree order. facts: step, round, model, ...
    parameters: names and shapes in theta's order; theta as a whole by default. learned: of the codec, None if nothing.
    """

    theta: Vector
    optimizer: Sequence[Array]
    facts: dict[str, Any]
    parameters: Parameters = ()
    learned: Vector | None = None


def save(path: Path, checkpoint: Checkpoint, keep: int = 1) -> None:
    """Write atomically. keep: how many checkpoints there are then, this one counted. Raises OSError."""
    arrays, order = named(checkpoint.theta, checkpoint.parameters or [("theta", checkpoint.theta.shape)])
    prefix = "optimizer/"
    while any(name.startswith(prefix) for name in arrays):  # A model may have parameters of that name.
        prefix = "_" + prefix
    leaves = [(f"{prefix}{index}", np.asarray(leaf)) for index, leaf in enumerate(checkpoint.optimizer)]
    metadata = {
        "gossamer": json.dumps(checkpoint.facts),
        "parameters": json.dumps(order),
        "optimizer": json.dumps([(name, str(leaf.dtype)) for name, leaf in leaves]),
    }
    if checkpoint.learned is not None and checkpoint.learned.size:
        metadata["learned"] = "learned"
        while metadata["learned"] in arrays:
            metadata["learned"] = "_" + metadata["learned"]
        arrays |= {metadata["learned"]: checkpoint.learned}
    write_safetensors(path, arrays | {name: raw(leaf) for name, leaf in leaves}, metadata, keep)


class Header(NamedTuple):
    """A checkpoint's metadata. optimizer: name and dtype of each leaf, dtype "" where the file's is meant.

    learned: the name of what the codec has learned, "" if there is nothing.
    """

    facts: dict[str, Any]
    parameters: Parameters
    optimizer: list[tuple[str, str]]
    learned: str = ""

    @property
    def size(self) -> int:
        """P, the length of theta."""
        return sum(prod(shape) for _, shape in self.parameters)


def load_header(path: Path) -> Header:
    """Read a checkpoint's metadata, and no array. Raises CheckpointError."""
    with _opened(path) as (_, header):
        return header


def load_theta(path: Path) -> Vector:
    """Read the vector of a checkpoint, (P,), and not its optimizer. Raises CheckpointError."""
    with _opened(path) as (file, header):
        return joined((file.array(name) for name, _ in header.parameters), header.size)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError."""
    with _opened(path) as (file, header):
        theta = joined((file.array(name) for name, _ in header.parameters), header.size)
        leaves = [cooked(file.array(name), dtype) for name, dtype in header.optimizer]
        learned = file.array(header.learned) if header.learned else None
        return Checkpoint(theta, leaves, header.facts, header.parameters, learned)


def verify(path: Path) -> None:
    """Read all of a checkpoint, one array at a time. Raises CheckpointError unless it is what was written."""
    with _opened(path) as (file, _):
        for name in file.names():
            file.array(name)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Tensors, Header]]:
    try:
        with opened(path) as file:
            yield file, _header(file)
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of an agent ({error}); remove it to start anew") from None


def _header(file: Tensors) -> Header:
    metadata = file.metadata
    facts = dict(of_json(metadata["gossamer"]))
    if "parameters" not in metadata:  # Of version 0.1.0: one vector, and the optimizer's leaves as NumPy knows them.
        count = sum(name.startswith("optimizer/") for name in file.names())
        return Header(facts, [("theta", file.shape("theta"))], [(f"optimizer/{k}", "") for k in range(count)])
    if not file.checked:
        raise ValueError("it has no checksum")
    names = [str(name) for name, _ in of_json(metadata["parameters"])]
    parameters = [(name, file.shape(name)) for name in names]
    leaves = of_json(metadata.get("optimizer", "[]"))  # A consensus model has none.
    kept = [(str(name), str(dtype)) for name, dtype in leaves]
    return Header(facts, parameters, kept, str(metadata.get("learned", "")))


class Run(NamedTuple):
    """A finished run. agents: ids, sorted. theta: (agents, P). steps: (agents,). facts: of each agent."""

    agents: list[str]
    theta: Vector
    steps: np.ndarray[Any, np.dtype[np.int64]]
    facts: list[dict[str, Any]]


def checkpoints_in(folder: Path) -> list[Path]:
    """The newest whole checkpoint of each agent in a run's folder, or of the one whose own it is."""
    agents = {path.parent for pattern in ("agents/*/", "") for path in folder.glob(pattern + "checkpoint*.safetensors")}
    found = (newest(agent / FILE) for agent in sorted(agents))
    return [path for path in found if path is not None]


def newest(path: Path, *, aside: bool = False) -> Path | None:
    """Of this checkpoint and the older ones kept beside it, the newest that is whole; None if there is none.

    A warning names each that is passed over. aside: rename it as well, so that it neither stands in the way of the
    next one nor is lost to whoever may mend it.
    """
    for each in generations(path):
        try:
            verify(each)
        except CheckpointError as error:
            log.warning("%s: passed over", str(error).removesuffix("; remove it to start anew"))
            if aside:
                with suppress(OSError):
                    each.replace(each.with_name(each.name + DAMAGED))
        else:
            return each
    return None


def load_run(run_dir: str | Path) -> Run:
    """Every agent's last vector in the folder of one run, by sorted id.

    Raises CheckpointError if there is none, or agents hold models of unlike size.
    """
    root = Path(run_dir)
    headers = {path: load_header(path) for path in checkpoints_in(root)}
    if not headers:
        raise CheckpointError(f"no agent left a checkpoint under {root}: expected {root}/agents/*/{FILE}")
    sizes = {header.size for header in headers.values()}
    if len(sizes) > 1 and any(header.facts.get("submodel") == NESTED for header in headers.values()):
        raise CheckpointError(
            f"{root} holds agents of unlike --capacity, whose vectors make up no array: take sim.replay({str(root)!r})"
            ".theta, which has them in a common order of coordinates, and 0 where an agent holds nothing"
        )
    if len(sizes) > 1:
        came = " and ".join(map(str, sorted(sizes)))
        raise CheckpointError(f"{root} must hold one run: got models of {came} parameters; move the others out")
    for path, header in headers.items():
        if not isinstance(header.facts.get("agent"), str) or not isinstance(header.facts.get("step"), int):
            raise CheckpointError(f"{path} lacks its agent or step: remove it to load the others")
    paths = sorted(headers, key=lambda path: headers[path].facts["agent"])
    facts = [headers[path].facts for path in paths]
    return Run(
        [fact["agent"] for fact in facts],
        np.stack([load_theta(path) for path in paths]),
        np.array([fact["step"] for fact in facts]),
        facts,
    )
