"""Weights & Biases: an offline run in the agent's folder, for `wandb sync`; with WANDB_MODE=online it is none."""

import os

import wandb

from agents.sinks.sink import About, Point

PROJECT = "gossamer"


class WandB:
    """A run of its own for each agent, the agents of a run in one group."""

    def __init__(self, about: About) -> None:
        self._run = wandb.init(
            project=PROJECT,
            group=about.run,
            name=about.agent,
            dir=str(about.folder),
            mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
            config=dict(about.settings),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def write(self, point: Point) -> None:
        """All values of a step."""
        self._run.log(dict(point.values), step=point.step)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


opened = WandB
