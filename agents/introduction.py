"""What an agent's operator reads first: who it is, where it listens, and the line that starts the next agent."""

import shlex
import socket

from agents.fields import Shard
from agents.learning.tasks import BUILT_IN
from agents.prepare import Prepared
from agents.settings import Learning, Placing


def introduction(name: str, learning: Learning, placing: Placing, prepared: Prepared, files: str) -> str:
    """One line. files: where they are."""
    task = f"{learning.task}, shard {placing.shard} ({prepared.samples} samples)"
    return f"{name}: {task}, {prepared.learner.size:,} parameters, {prepared.steps} steps; files in {files}"


def invitation(learning: Learning, placing: Placing, bound: str, address: str) -> str:
    """Where the agent listens, and the command for the next machine, on a line of its own.

    It gives what the next agent can't take over from the swarm. bound: what the socket is bound to. address:
    what is published, "" if none is known that others can use.
    """
    reach = address or bound.replace("0.0.0.0", socket.gethostname())
    arguments = [] if learning.task in BUILT_IN else [f"--task={learning.task}"]
    arguments += [f"--data={learning.data}"] if learning.data else []
    if placing.wait_for != Placing.wait_for:
        arguments.append(f"--wait-for={placing.wait_for}")
    following = Shard((placing.shard.index + 1) % placing.shard.shards, placing.shard.shards)
    command = shlex.join(["agent", "run", *arguments, f"--join={reach}", f"--shard={following}"])
    return f"listening on {reach}. On the next machine:\n    {command}"
