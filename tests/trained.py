"""A swarm of real agents in threads of one process: sockets, files and recordings are theirs, compiled once for all."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.fields import settings_of
from agents.settings import Gossiping, Learning, Placing

WAIT_S = 120.0


def trained(folder: Path, agents: int, each: Sequence[Mapping[str, Any]] = (), **settings: Any) -> Path:
    """A run's folder, as `agent launch` leaves it but for its own files, once all agents have trained and finished.

    settings: of Learning and Gossiping, by name. each: of Gossiping, what each agent has in place of those.
    """
    learned = {setting.name for setting in settings_of(Learning)}
    learning = Learning(**{name: value for name, value in settings.items() if name in learned})
    gossiping = Gossiping(
        **{"overlap": "no", "linger": 0} | {name: settings[name] for name in settings.keys() - learned}
    )
    placing = Placing(listen="tcp://127.0.0.1:0", wait_for=agents, wait_limit=WAIT_S, evaluate=False)
    join: tuple[str, ...] = ()
    with ThreadPoolExecutor(agents) as threads:
        running = []
        for k in range(agents):
            own = {"name": f"agent-{k}", "run_dir": folder / "agents" / f"agent-{k}", "shard": f"{k}/{agents}"}
            gossips = replace(gossiping, **each[k]) if each else gossiping
            agent = Agent(learning, gossips, replace(placing, join=join, **own))  # Asks the first, which runs.
            running.append(threads.submit(agent.run, lambda line: None))
            join = join or (agent.address,)
        for run in running:
            run.result()
    return folder
