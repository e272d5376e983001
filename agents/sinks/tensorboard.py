"""TensorBoard: event files in the agent's folder, by tensorboardX; `tensorboard --logdir` shows all agents of a run."""

from tensorboardX import SummaryWriter

from agents.sinks.sink import About, Point

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files into `about.folder`, each start of an agent another; one curve goes through them all."""

    def __init__(self, about: About) -> None:
        self._writer = SummaryWriter(str(about.folder / FOLDER), purge_step=about.step + 1)
        settings = "\n".join(f"    {name} = {value}" for name, value in about.settings.items())
        self._writer.add_text("settings", settings)

    def write(self, point: Point) -> None:
        """A scalar of each value."""
        for name, value in point.values.items():
            if name != "step":
                self._writer.add_scalar(name, value, point.step, walltime=point.time_s)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


opened = TensorBoard
