"""Each tracker takes points by its real library, offline, into the agent's folder; a missing library is one line.

Where one is not installed its test is skipped: `pip install 'gossamer[trackers]'` installs all.
"""

import sqlite3
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from agents.settings import Launching, Placing
from agents.sinks import names
from agents.sinks.feed import Feed
from agents.sinks.names import TRACKERS, opener
from agents.sinks.sink import About, Point, SinkError
from agents.values import SettingsError

POINTS = [Point(1e9, 3, {"step": 3, "loss": 0.5}), Point(1e9 + 1, 5, {"step": 5, "loss": 0.25, "test_accuracy": 0.75})]
WAIT_S = 120.0


@pytest.fixture
def about(tmp_path: Path) -> About:
    return About(tmp_path, "the-run", "agent-0", {"alpha": 0.5, "task": "digits"})


def taken(name: str, about: About) -> None:
    """Opened, given the points, and closed as an agent does it: in a thread."""
    feed = Feed(name, opener(name, about))
    feed.start()
    for point in POINTS:
        feed.put(point)
    feed.close(WAIT_S)
    assert feed.dropped == 0


def events_of(about: About) -> list[Any]:
    """What TensorBoard would read of an agent that was given the points."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    taken("tensorboard", about)
    (path,) = (about.folder / "tensorboard").iterdir()
    data, at, events = path.read_bytes(), 0, []
    while at < len(data):  # Length, its checksum, an event, its checksum.
        (length,) = struct.unpack_from("<Q", data, at)
        events.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += 16 + length
    return events


def test_tensorboard_is_told_from_which_step_an_agent_goes_on(about: About) -> None:
    """Where a start says so it passes over what an earlier one wrote of later steps, which were taken again."""
    found = [(event.session_log.status, event.step) for event in events_of(about._replace(step=2))]
    assert (1, 3) in found, "SessionLog.START, before whose step all is kept"


def test_tensorboard_reads_the_scalars_with_their_steps_and_times(about: About) -> None:
    scalars = [
        (value.tag, event.step, event.wall_time, value.simple_value)
        for event in events_of(about)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]
    assert scalars == [
        ("loss", 3, 1e9, 0.5),
        ("loss", 5, 1e9 + 1, 0.25),
        ("test_accuracy", 5, 1e9 + 1, 0.75),
    ]


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_an_offline_run(about: About) -> None:
    pytest.importorskip("wandb")
    taken("wandb", about)
    (path,) = about.folder.glob("wandb/offline-run-*/*.wandb")
    assert all(text in path.read_bytes() for text in (b"the-run", b"agent-0", b"test_accuracy", b"0.75"))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_a_run_in_its_database(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    taken("mlflow", about)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{about.folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("gossamer").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["alpha"]) == ("agent-0", "FINISHED", "0.5")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value, each.timestamp) for each in history] == [(3, 0.5, 10**12), (5, 0.25, 10**12 + 1000)]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_all_values_whatever_a_task_calls_its_metrics(
    about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    odd = ["f1 (macro)", "top-5%", "../../x", "a//b", "a\nb", "a/", "n" * 300, "é", "fine/one"]
    feed = Feed("mlflow", opener("mlflow", about))
    feed.start()
    feed.put(Point(1e9, 3, {"loss": 0.5} | {f"test_{name}": float(k) for k, name in enumerate(odd)}))
    feed.close(WAIT_S)
    assert feed.dropped == 0
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{about.folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("gossamer").experiment_id])
    assert sorted(run.data.metrics.values()) == [0, 0.5, *range(1, len(odd))]
    assert {"test_f1 _macro_", "test_top-5_", "test_.._.._x", "test_é", "test_fine/one"} <= run.data.metrics.keys()


@pytest.mark.filterwarnings("ignore")
def test_agents_that_make_mlflows_experiment_at_the_same_time_share_it(
    about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{about.folder / 'server.db'}")
    look, looked = mlflow.MlflowClient.get_experiment_by_name, list[str]()

    def too_early(client: Any, name: str) -> Any:
        looked.append(name)
        return look(client, name) if len(looked) != 2 else None  # The second agent's first look.

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", too_early)
    for name in ("agent-0", "agent-1"):
        taken("mlflow", about._replace(agent=name))
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("gossamer").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["agent-0", "agent-1"]


@pytest.mark.filterwarnings("ignore")
def test_trackio_keeps_a_run_in_its_database(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("trackio") is None:  # Imported here it would look for its folder too early.
        pytest.skip("could not import 'trackio'")
    monkeypatch.setenv("TRACKIO_DIR", str(about.folder / "trackio"))
    taken("trackio", about)
    with sqlite3.connect(about.folder / "trackio" / "gossamer.db") as database:
        rows: list[Any] = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [("agent-0", 3), ("agent-0", 5)]
    assert '"test_accuracy":0.75' in str(rows[1][2]).replace(" ", "")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_one_line_that_says_what_to_install(
    name: str, about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "find_spec", lambda package: None)
    with pytest.raises(SinkError) as refused:
        opener(name, about)
    assert str(refused.value) == (
        f"--track {name} needs a package that is not installed: pip install {TRACKERS[name].requirement}, or pip "
        "install 'gossamer[trackers]' for all"
    )


@pytest.mark.parametrize("settings", [lambda **given: Placing(**given), lambda **given: Launching(agents=2, **given)])
def test_trackers_and_ports_are_checked_by_name_and_form(settings: Any) -> None:
    with pytest.raises(SettingsError, match="--track is mlflow, tensorboard, trackio, wandb: got 'excel'"):
        settings(track=["tensorboard", "excel"])
    for wrong in ("port", "", ":1", "a:b", "65536", "-1"):
        with pytest.raises(
            SettingsError, match=r"--prometheus is PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100: got"
        ):
            settings(prometheus=wrong)


def test_the_ports_of_all_agents_of_a_launch_are_ports() -> None:
    for last in ("65533", "127.0.0.1:65533", "0"):
        assert Launching(agents=3, prometheus=last).prometheus == last
    with pytest.raises(SettingsError, match=r"is for the first of 3 agents.* give 65533 or less"):
        Launching(agents=3, prometheus="0.0.0.0:65534")
    assert Placing(prometheus="65535").prometheus == "65535"
