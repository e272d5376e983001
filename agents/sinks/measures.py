"""Every field of a line of metrics, with its unit: what docs/metrics.md documents, and what Prometheus is given."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """One field. unit: of its values. help: what they are. counts: whether it only grows while an agent runs.

    key: what there is a value for each of; "" for a field of one value.
    """

    unit: str
    help: str
    counts: bool = False
    key: str = ""


FIELDS = {
    "time": Measure("seconds since 1970", "when the line was written"),
    "step": Measure("local steps", "taken in all, those of earlier starts included"),
    "loss": Measure("the task's loss", "of the last local step, on its batch; null where it is not finite"),
    "exchanges": Measure("exchanges", "completed since the agent started", counts=True),
    "skipped": Measure(
        "boundaries",
        "that began no exchange, as the one before was still under way, since the agent started",
        counts=True,
    ),
    "bytes_sent": Measure("bytes", "sent to others since the agent started", counts=True),
    "bytes_by_codec": Measure(
        "bytes",
        "of what exchanges sent, by the codec in which it was written, since the agent started",
        counts=True,
        key="codec",
    ),
    "distance": Measure("units of the parameters", "norm of the difference of both models in the last exchange"),
    "consensus_distance": Measure(
        "units of the parameters",
        "how far all are from agreeing, by the sketches that the agent has; null where unknown",
    ),
    "lost": Measure("chunks", "that one side alone may have applied, since the agent started", counts=True),
    "members": Measure("agents", "alive, this one counted"),
}
"""Field: what it is. A line that comes of an evaluation has those of `JUDGED` too."""

JUDGED = {
    "test_": Measure(
        "the metric's own", "each metric of the task, and its loss, of the agent's model on the test data"
    ),
    "validation_": Measure("the metric's own", "the same on the task's validation data, where it has any"),
}
"""What the names of an evaluation's fields begin with, such as "test_accuracy"."""


def flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics with a name for each value: {"bytes_by_codec_lattice_4": 5} of {"bytes_by_codec": {...}}."""
    found = dict(line)
    for name, values in line.items():
        if isinstance(values, Mapping):
            del found[name]
            found |= {f"{name}_{re.sub(r'[^A-Za-z0-9]+', '_', key)}": value for key, value in values.items()}
    return found


def judged(field: str) -> tuple[str, str] | None:
    """Which data and which metric a field of an evaluation is of, such as ("test", "accuracy"); None for any other."""
    prefix = next((prefix for prefix in JUDGED if field.startswith(prefix)), None)
    return None if prefix is None else (prefix.rstrip("_"), field.removeprefix(prefix))
