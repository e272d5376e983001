"""What an agent's operator reads first: who it is, where it listens, and the line that starts the next agent."""

import shlex
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from agents.fields import settings_of
from agents.learning.tasks import BUILT_IN
from agents.observe.card import counted
from agents.prepare import Prepared
from agents.settings import PLAIN, Learning, Placing, Securing
from agents.submodel import WHOLE, WIDTH, parse, same_part
from agents.values import Shard
from agents.view import View

NAMED = 5
"""Agents that a line names."""


def introduction(
    name: str, learning: Learning, placing: Placing, prepared: Prepared, files: str, submodel: str = WHOLE
) -> str:
    """One line. files: where they are. submodel: how the model is divided among agents."""
    task = f"{learning.task}, shard {placing.shard} ({prepared.samples} samples)"
    if prepared.slice is not None:
        task += f", capacity {prepared.slice.capacity:g}"
    elif shared_out := parse(submodel):
        what = "subnetwork" if shared_out.kind == WIDTH else "block"
        task += f", {what} {shared_out.part(placing.shard)} of {shared_out.parts}"
    return f"{name}: {task}, {prepared.learner.size:,} parameters, {prepared.steps} steps; files in {files}"


def opening(
    name: str,
    learning: Learning,
    placing: Placing,
    prepared: Prepared,
    files: str,
    submodel: str,
    resumed_at: int | None,
    reach: str,
    metrics: str,
) -> Iterator[str]:
    """The lines with which an agent begins. The first six arguments are those of `introduction`.

    resumed_at: the step that it goes on from, None if it starts afresh. reach: where others reach it, "" if they can't.
    metrics: a line of where they are served, "" if they aren't.
    """
    yield introduction(name, learning, placing, prepared, files, submodel)
    if resumed_at is not None:
        yield resumption(resumed_at, prepared.steps)
    if reach:
        yield f"listening on {reach}"
    if metrics:
        yield metrics


def resumption(step: int, steps: int) -> str:
    """Where a checkpoint goes on, and what to do if nothing is left to train."""
    ended = "; nothing is left to train: another --run-dir starts afresh" if step >= steps else ""
    return f"resuming at step {step} of {steps}{ended}"


def completion(view: View, submodel: str = WHOLE) -> str:
    """How many hold the consensus model at the end of the exact finish, and who doesn't, of those that train it too."""
    others, ours = (*view.others, *view.gone), view.me.report
    known = {member.agent for member in others if same_part(submodel, ours, member.report)}
    without = sorted(known.difference(view.exact))
    more = f", and {len(without) - NAMED} more" if len(without) > NAMED else ""
    left_out = f"; it went on without {', '.join(without[:NAMED])}{more}" if without else ""
    return f"the exact finish is complete: {counted(len(view.exact))} with the consensus model{left_out}"


def reachable(bound: str, address: str) -> str:
    """Where others reach the agent. bound: what its socket is bound to; address: what is published, "" if none is."""
    return address or bound.replace("0.0.0.0", socket.gethostname())


def invitation(
    learning: Learning, placing: Placing, reach: str, taken: Collection[str], securing: Securing = PLAIN
) -> str:
    """The command for the next machine, on a line of its own; "" if no shard is left to give.

    It gives what the next agent can't take over from the swarm. taken: the shards of those who are here. securing:
    ours, whose files go by the same names there.
    """
    ours = placing.shard
    others = (Shard((ours.index + k) % ours.shards, ours.shards) for k in range(1, ours.shards))
    following = next((shard for shard in others if str(shard) not in taken), None)
    if following is None:
        return ""
    arguments = [] if learning.task in BUILT_IN else [f"--task={learning.task}"]
    arguments += [f"--data={learning.data}"] if learning.data else []
    if placing.wait_for != Placing.wait_for:
        arguments.append(f"--wait-for={placing.wait_for}")
    for setting in settings_of(Securing):
        value = getattr(securing, setting.name)
        if value:
            arguments += setting.flags(value.name if isinstance(value, Path) else value)
    command = shlex.join(["agent", "run", *arguments, f"--join={reach}", f"--shard={following}"])
    return f"on the next machine:\n    {command}"
