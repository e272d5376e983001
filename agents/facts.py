"""What an agent writes about itself into its checkpoints and into its recording."""

import math
import os
from collections.abc import Mapping
from typing import Any

from agents.config import to_toml
from agents.finite import finite_loss
from agents.mixing.nested import Slice
from agents.prepare import Prepared
from agents.settings import Gossiping, Learning
from agents.values import Shard

THREADS = "NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS"
"""What in the environment decides how XLA shares out a sum, and so its last bits."""


def checkpoint_facts(
    name: str,
    incarnation: int,
    learning: Learning,
    shard: Shard,
    prepared: Prepared,
    submodel: str,
    saved: Mapping[str, Any],
) -> dict[str, Any]:
    """What a checkpoint records of its agent before a local step is taken. saved: the facts of what it resumes from."""
    return {
        "agent": name,
        "incarnation": incarnation,
        "shard": str(shard),
        "samples": prepared.samples,
        "seed": learning.seed,
        "task": learning.task,
        "model": prepared.learner.spec_hash,
        "width": learning.width,
        "submodel": submodel,
        **prepared.blocks.settings,
        **nested_facts(prepared.slice),
        **({"loss": saved["loss"]} if "loss" in saved else {}),
    }


def last_loss(saved: Mapping[str, Any]) -> float:
    """The loss of the last local step before a checkpoint, NaN if it wasn't finite; 0 where its facts don't say."""
    loss = saved.get("loss", 0.0)
    return math.nan if loss is None else float(loss)


def first_record(saved: Mapping[str, Any], shard: Shard, steps: int) -> dict[str, Any]:
    """The fields of an agent's first record for its shard and how far it is. saved: the facts of what it resumes from.

    What its vector weighed since an exact finish that was not completed it still weighs, unless it trains on.
    """
    step = saved.get("step", 0)
    carried = {name: saved[name] for name in ("mass", "masses") if name in saved and step >= steps}
    return {"shard": str(shard), "step": step, "steps": steps, **carried, **finite_loss({"loss": last_loss(saved)})}


def nested_facts(slice: Slice | None) -> dict[str, Any]:
    """Of a slice of a nested model: how much of it, and of which model that is; nothing of a whole one."""
    return {} if slice is None else {"capacity": slice.capacity, "of_model": slice.model, "of_size": slice.blocks.size}


def recording_facts(
    name: str,
    incarnation: int,
    saved: Mapping[str, Any],
    prepared: Prepared,
    learning: Learning,
    gossiping: Gossiping,
) -> dict[str, Any]:
    """What a replay must know of an incarnation, whose settings the next one need not have.

    saved: the facts of what it resumes from.
    """
    return {
        "agent": name,
        "incarnation": incarnation,
        "step": saved.get("step", 0),
        "resumed": [saved.get("incarnation", 0), saved.get("save", 0)],
        "index": prepared.index,
        "samples": prepared.samples,
        "steps": prepared.steps,
        "parameters": prepared.learner.size,
        "settings": to_toml(learning, gossiping),
        "environment": {name: os.environ[name] for name in THREADS if name in os.environ},
    }
