"""MLflow: a database in the agent's folder, or the server that MLFLOW_TRACKING_URI names."""

import os

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from agents.sinks.sink import About, Point

EXPERIMENT = "gossamer"
FILE = "mlflow.db"
VALUE_CHARS = 500
"""Of one setting: MLflow takes no longer ones."""


class MLflow:
    """A run of its own for each agent."""

    def __init__(self, about: About) -> None:
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{about.folder.resolve() / FILE}"
        self._client = client = MlflowClient(tracking_uri=place)
        found = client.get_experiment_by_name(EXPERIMENT)
        artifacts = (about.folder.resolve() / "mlflow").as_uri()
        id = found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        self._run: str = client.create_run(id, run_name=about.agent, tags={"swarm": about.run}).info.run_id
        params = [Param(name, str(value)[:VALUE_CHARS]) for name, value in about.settings.items()]
        client.log_batch(self._run, params=params)

    def write(self, point: Point) -> None:
        """A metric of each value."""
        at_ms = int(point.time_s * 1000)
        metrics = [Metric(name, value, at_ms, point.step) for name, value in point.values.items() if name != "step"]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """The run is over."""
        self._client.set_terminated(self._run)


opened = MLflow
