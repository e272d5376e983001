"""Trackio: a database in the agent's folder, or in the one that TRACKIO_DIR names; `trackio show` reads it."""

import os

from agents.sinks.sink import About, Point

PROJECT = "gossamer"
FOLDER = "trackio"


class Trackio:
    """A run of its own for each agent, the agents of a run in one group."""

    def __init__(self, about: About) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(about.folder.resolve() / FOLDER))  # Read when it is imported.
        import trackio

        self._run = trackio.init(
            project=PROJECT,
            name=about.agent,
            group=about.run,
            config={name: str(value) for name, value in about.settings.items()},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(self, point: Point) -> None:
        """All values of a step."""
        self._run.log({name: value for name, value in point.values.items() if name != "step"}, step=point.step)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


opened = Trackio
