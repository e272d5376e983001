"""MLflow: a database in the agent's folder, or the server that MLFLOW_TRACKING_URI names."""

import os
import posixpath
import re

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from agents.sinks.sink import About, Point

EXPERIMENT = "gossamer"
FILE = "mlflow.db"
VALUE_CHARS = 500
"""Of one setting: MLflow takes no longer ones."""
NAME_CHARS = 250
"""Of a metric, likewise."""


def taken(name: str) -> str:
    """A metric's name as MLflow takes it: with _ for what it takes nowhere, and where it would be no path."""
    found = re.sub(r"[^\w.\- :/]", "_", name)[:NAME_CHARS]
    return found if posixpath.normpath(found) == found else found.replace("/", "_")


class MLflow:
    """A run of its own for each agent."""

    def __init__(self, about: About) -> None:
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{about.folder.resolve() / FILE}"
        self._client = client = MlflowClient(tracking_uri=place)
        found = client.get_experiment_by_name(EXPERIMENT)
        artifacts = (about.folder.resolve() / "mlflow").as_uri()
        try:
            id = found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        except MlflowException:  # Another agent has made it on the same server meanwhile, or there is no making it.
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
            id = found.experiment_id
        self._run: str = client.create_run(id, run_name=about.agent, tags={"swarm": about.run}).info.run_id
        params = [Param(name, str(value)[:VALUE_CHARS]) for name, value in about.settings.items()]
        client.log_batch(self._run, params=params)

    def write(self, point: Point) -> None:
        """A metric of each value."""
        at_ms = int(point.time_s * 1000)
        values = {taken(name): value for name, value in point.values.items() if name != "step"}
        metrics = [Metric(name, value, at_ms, point.step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """The run is over."""
        self._client.set_terminated(self._run)


opened = MLflow
