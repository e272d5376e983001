"""The sinks by name, and whether what they need is installed. Nothing of theirs is imported here."""

from collections.abc import Callable, Collection
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from agents.sinks.sink import About, Sink, SinkError


class Tracker(NamedTuple):
    """An experiment tracker. module: of ours, with `opened`. package: imported; requirement: what installs it."""

    module: str
    package: str
    requirement: str


TRACKERS = {
    "mlflow": Tracker("agents.sinks.mlflow", "mlflow", "mlflow"),
    "tensorboard": Tracker("agents.sinks.tensorboard", "tensorboardX", "tensorboardX"),
    "trackio": Tracker("agents.sinks.trackio", "trackio", "trackio"),
    "wandb": Tracker("agents.sinks.wandb", "wandb", "wandb"),
}

LOOPBACK = "127.0.0.1"

ALL = "pip install 'gossamer[trackers]'"
"""What installs all that sinks need."""


def unknown(names: Collection[str]) -> str:
    """The first of these names that no tracker has, "" if all are known."""
    return next((name for name in names if name not in TRACKERS), "")


def need(what: str, package: str, requirement: str) -> None:
    """Raise SinkError unless this package is installed. what: the flag that needs it."""
    try:
        found = find_spec(package)
    except ValueError:
        found = None
    if found is None:
        raise SinkError(f"{what} needs a package that is not installed: pip install {requirement}, or {ALL} for all")


def opener(name: str, about: About) -> Callable[[], Sink]:
    """What opens this tracker, which may take long. Raises SinkError, at once, unless what it needs is installed."""
    tracker = TRACKERS[name]
    need(f"--track {name}", tracker.package, tracker.requirement)

    def opened() -> Sink:
        sink: Sink = import_module(tracker.module).opened(about)
        return sink

    return opened


def place(text: str) -> tuple[str, int]:
    """Host and port of "9100" or "0.0.0.0:9100". Raises SinkError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (":" in text and not host):
        raise SinkError(f"--prometheus is PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100: got {text!r}")
    return host.strip("[]") or LOOPBACK, int(port)
