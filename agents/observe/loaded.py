"""A consensus model from its file: the params and the task, to predict with or to train on."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.checkpoint import CheckpointError
from agents.config import read_toml
from agents.learning.check import check_params
from agents.learning.loading import load_task
from agents.learning.parameters import parameters
from agents.learning.task import Batch, Params, Task
from agents.learning.tasks import BUILT_IN
from agents.observe.card import CONSENSUS, Consensus, MismatchError
from agents.observe.ways import ENSEMBLE
from agents.submodel import subnetwork_count
from agents.subnetworks import subnetworks, wider
from agents.tensors import Array, named, of_json, opened


class Loaded(NamedTuple):
    """A model and what it was trained for. params: the pytree that `task.init` makes, of JAX's arrays."""

    params: Params
    task: Task


def load_consensus(path: str | Path, task: str | Path | Task | None = None, data: str | Path | None = None) -> Loaded:
    """The params and the task of a consensus model: `params, task = load_consensus("runs/mine/consensus.safetensors")`.

    path: the file that `agent launch`, `agent consensus --out` or an agent has written, or the folder of a launch or an
    agent, which holds it. task: needed where it is a file and no settings lie beside the model, since a model's file
    may come from elsewhere and what it names isn't loaded as code. data: where the task's data lies; if None where the
    settings beside the model have it for this task, or else where it looks by itself. Of an ensemble params have an
    axis of models in front, and the task's predict adds up what they give out. Raises CheckpointError if there is no
    such model, MismatchError if it isn't the task's, TaskError.
    """
    file = Path(path) / CONSENSUS if Path(path).is_dir() else Path(path)
    card, order, arrays = _read(file)
    given = _task_beside(file, card) if task is None else task
    found = wider(load_task(given, _data_beside(file, given) if data is None else data), card.width)
    if card.how == ENSEMBLE and order and order[0][1]:
        return _ensemble(found, order, arrays, file)
    count = subnetwork_count(card.submodel)
    if count > 1 and order != _spec(found):
        found, _ = subnetworks(found, count)  # One agent's own subnetwork.
    if (ours := _spec(found)) != order:
        raise MismatchError(_difference(file, found, ours, order, card.own))
    shapes = check_params(found)
    leaves = [jnp.asarray(arrays[name]) for name, _ in order]
    return Loaded(jax.tree.unflatten(jax.tree.structure(shapes), leaves), found)


def _ensemble(task: Task, order: list[tuple[str, tuple[int, ...]]], arrays: dict[str, Array], file: Path) -> Loaded:
    """The params of all models, each array with an axis of models in front, and the task of their sum."""
    models, ours = order[0][1][0], _spec(task)
    if [(name, shape[1:]) for name, shape in order] != ours or any(shape[0] != models for _, shape in order):
        raise MismatchError(_difference(file, task, ours, [(name, shape[1:]) for name, shape in order], ""))
    shapes = check_params(task)
    params = jax.tree.unflatten(jax.tree.structure(shapes), [jnp.asarray(arrays[name]) for name, _ in order])
    return Loaded(params, replace(task, predict=None if task.predict is None else partial(_summed, task.predict)))


def _summed(predict: Callable[[Params, Batch], Any], params: Params, batch: Batch) -> Any:
    """What all models give out, added up."""
    return jax.vmap(predict, in_axes=(0, None))(params, batch).sum(axis=0)


def _read(file: Path) -> tuple[Consensus, list[tuple[str, tuple[int, ...]]], dict[str, Array]]:
    """The card, names and shapes in the order of theta, and the arrays by name. Raises CheckpointError."""
    if not file.is_file():
        raise CheckpointError(f"no consensus model at {file}: expected a file {CONSENSUS}, or a folder that holds one")
    try:
        with opened(file) as tensors:
            plain, order = (of_json(tensors.metadata[key]) for key in ("gossamer", "parameters"))
            arrays = {name: tensors.array(name) for name, _ in order}
            known = {field.name: plain[field.name] for field in fields(Consensus) if field.name in plain}
            return Consensus(**known), [(name, tuple(shape)) for name, shape in order], arrays
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is no consensus model that `agent` has written: {error}") from None


def _task_beside(file: Path, card: Consensus) -> str:
    """The task's name if it is a built-in one, else the file that the settings beside the model name."""
    if card.task in BUILT_IN:
        return card.task
    if named := str(_settings_beside(file).get("task", "")):
        return named
    raise MismatchError(
        f"{file} is a model of the task {Path(card.task).name[:80]!r}, which is no built-in one: give it too, as in "
        f"load_consensus({str(file)!r}, task='my_task.py')"
    )


def _data_beside(file: Path, task: str | Path | Task) -> str | None:
    """Where the settings beside the model have the data, if they are of this task and it is still there."""
    settings = {} if isinstance(task, Task) else _settings_beside(file)
    data, named = str(settings.get("data", "")), str(settings.get("task", ""))
    same = named == str(task) or (named and Path(named).resolve() == Path(str(task)).expanduser().resolve())
    return data if same and data and Path(data).exists() else None


def _settings_beside(file: Path) -> dict[str, Any]:
    """Those with which the launch or agent was run that has left this model; {} where there are none."""
    settings = file.parent / "config.toml"
    return read_toml(settings) if settings.is_file() else {}


def _spec(task: Task) -> list[tuple[str, tuple[int, ...]]]:
    """Names, as a file holds them, and shapes of a task's parameters, in the order of theta."""
    found = [(parameter.name, parameter.shape) for parameter in parameters(check_params(task))]
    unheld = np.zeros(sum(prod(shape) for _, shape in found), np.float32)  # Virtual memory: only names are asked for.
    return [(name, tuple(shape)) for name, shape in named(unheld, found)[1]]


def _difference(file: Path, task: Task, ours: Sequence[Any], theirs: Sequence[Any], own: str) -> str:
    """What a person should know of two models that aren't the same."""
    if own:
        return f"{file} lacks {own}, which stayed with the agents: take such an agent's checkpoint, in its own folder"
    lacking = [f"{name} {shape}" for name, shape in ours if (name, shape) not in theirs]
    beyond = [f"{name} {shape}" for name, shape in theirs if (name, shape) not in ours]
    return (
        f"{file} isn't a model of task {task.name}: the task has {', '.join(lacking[:3]) or 'its parameters'}, where "
        f"the file has {', '.join(beyond[:3]) or 'them in another order'}; give the task as the swarm had it"
    )
