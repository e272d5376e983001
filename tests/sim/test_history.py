"""What a run leaves behind can be read, saved and loaded, and what is wrong with it is refused by name."""

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sim.curves import readable_bytes, spread
from sim.history import ARRAYS, History, HistoryError


def history(evaluations=3, agents=4, **changed):
    """A history with known values; agent 0 was evaluated last time alone."""
    accuracy = np.linspace(0.1, 0.9, evaluations * agents).reshape(evaluations, agents)
    accuracy[:-1, 0] = np.nan
    series = np.arange(evaluations, dtype=np.float64)
    arrays = {
        "rounds": series * 10,
        "consensus_distance": 2.0**-series,
        "accuracy": accuracy,
        "loss": np.full((evaluations, agents), np.nan),
        "consensus_accuracy": np.full(evaluations, 0.95),
        "consensus_loss": series,
        "mean_drift": series,
        "bytes": np.arange(evaluations) * 10**6,
        "exchanges": np.arange(evaluations) * agents,
        "theta": np.arange(agents * 5, dtype=np.float32).reshape(agents, 5),
        "edges": np.array([[0, 1], [1, 2]], np.int32),
        "facts": {"task": "digits", "topology": "ring", "protocol": "exchange", "rho": None, "seed": 3},
    }
    return History(**arrays | changed)


def test_a_saved_history_loads_as_it_was(tmp_path):
    before = history()
    before.save(tmp_path / "runs" / "history.safetensors")
    after = History.load(tmp_path / "runs" / "history.safetensors")
    assert after.facts == before.facts
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["history.safetensors"], "nothing left beside it"


def test_edges_may_be_empty(tmp_path):
    before = history()
    bare = History(**{item.name: getattr(before, item.name) for item in fields(before) if item.name != "edges"})
    bare.save(tmp_path / "history.safetensors")
    assert History.load(tmp_path / "history.safetensors").edges.shape == (0, 2)


def test_facts_that_json_cannot_hold_leave_the_old_file(tmp_path):
    history().save(tmp_path / "history")
    with pytest.raises(HistoryError, match=r"facts hold only what JSON can: .*ndarray"):
        history(facts={"task": np.zeros(3)}).save(tmp_path / "history")
    assert History.load(tmp_path / "history").facts["seed"] == 3


def test_a_file_that_is_no_history_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    save_file({"theta": np.zeros(3)}, tmp_path / "checkpoint")
    save_file({"theta": np.zeros(3)}, tmp_path / "half", {"gossamer.history": json.dumps({})})
    for name in ("text", "checkpoint", "half"):
        with pytest.raises(HistoryError, match=rf"{name} is no history that History.save wrote"):
            History.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        History.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "metadata",
    [
        {"gossamer.history": "[" * 100_000},
        {"gossamer.history": "[]"},
        {"gossamer.history": "null"},
        {"gossamer.ending": "[1]"},
        {"gossamer.ending": '{"order": [["a"]], "dtypes": {}, "settings": {}, "evaluations": 0}'},
        {"gossamer.ending": '{"order": [], "dtypes": {}, "settings": 3, "evaluations": 0}'},
        {"gossamer.ending": '{"order": [], "dtypes": {}, "settings": {}, "evaluations": null}'},
        {"gossamer.ending": '{"order": [], "dtypes": {}, "settings": {}, "evaluations": Infinity}'},
        {"gossamer.ending": '{"order": ["a"], "dtypes": {"a": "no dtype"}, "settings": {}, "evaluations": 0}'},
    ],
    ids=lambda metadata: next(iter(metadata.values()))[:60],
)
def test_a_file_that_somebody_made_is_refused_whatever_its_metadata_says(tmp_path, metadata):
    """Without checksums, as files of before."""
    history().save(tmp_path / "history")
    arrays = load_file(tmp_path / "history") | {"gossamer.ending/a": np.zeros(2)}
    save_file(arrays, tmp_path / "made", {"gossamer.history": "{}"} | metadata)
    with pytest.raises(HistoryError, match="made is no history"):
        History.load(tmp_path / "made")
    save_file(arrays, tmp_path / "old", {"gossamer.history": "{}"})
    assert History.load(tmp_path / "old").facts == {}


def test_a_file_that_a_disk_has_altered_is_refused(tmp_path):
    history().save(tmp_path / "history")
    whole = (tmp_path / "history").read_bytes()
    theta = history().theta.tobytes()
    for place in (whole.index(b"digits"), whole.rindex(b"seed"), whole.rindex(theta) + 2):
        altered = bytearray(whole)
        altered[place] ^= 1
        (tmp_path / "history").write_bytes(altered)
        with pytest.raises(HistoryError, match="is no history"):
            History.load(tmp_path / "history")


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    history().save(tmp_path / "history")

    def full(tensors, path, metadata):
        path.write_text("half of it")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=r"can't write .*history: No space left on device"):
        history(facts={}).save(tmp_path / "history")
    assert [path.name for path in tmp_path.iterdir()] == ["history"]
    assert History.load(tmp_path / "history").facts["seed"] == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"accuracy": np.zeros((3, 5))}, r"accuracy has shape \(3, 4\) in this history: got \(3, 5\)"),
        ({"bytes": np.zeros(2)}, r"bytes has shape \(3,\) in this history: got \(2,\)"),
        ({"edges": np.zeros((2, 3), np.int32)}, r"edges has shape \(2, 2\) in this history: got \(2, 3\)"),
        ({"theta": np.zeros(4)}, r"theta \(agents, params\) .* got theta of shape \(4,\)"),
        ({"rounds": np.zeros(0)}, r"at least one evaluation: .* rounds of shape \(0,\)"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changed, message):
    with pytest.raises(HistoryError, match=message):
        history(**changed)


def test_frame_has_a_row_for_each_evaluation():
    frame = history().to_frame()
    assert len(frame) == 3
    assert list(frame["rounds"]) == [0, 10, 20]
    last = history().accuracy[-1]
    assert tuple(frame.iloc[-1][["accuracy_mean", "accuracy_min", "accuracy_max"]]) == pytest.approx(
        (last.mean(), last.min(), last.max())
    )
    assert frame["loss_mean"].isna().all()
    scalars = {"consensus_distance", "consensus_accuracy", "consensus_loss", "mean_drift", "bytes", "exchanges"}
    assert scalars <= set(frame.columns)


def test_spread_sets_aside_who_was_not_evaluated():
    mean, low, high = spread(np.array([[np.nan, 1.0, 3.0], [np.nan, np.nan, np.nan]]))
    np.testing.assert_array_equal([mean, low, high], [[2.0, np.nan], [1.0, np.nan], [3.0, np.nan]])


def test_repr_shows_what_a_reader_asks_first():
    for text in (repr(history()), history()._repr_html_()):
        for shown in (
            "digits, ring, exchange",
            "4 of 5 parameters",
            "20",
            "best 0.9000, merged 0.9500",
            "0.25",
            "2 MB",
        ):
            assert shown in text
    unseen = np.full((3, 4), np.nan)
    assert "accuracy" not in repr(history(accuracy=unseen, consensus_accuracy=np.full(3, np.nan)))
    assert "&lt;b&gt;" in history(facts={"task": "<b>"})._repr_html_(), "a task's name is no markup"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (1_234_567, "1.23 MB"), (5e15, "5e+03 TB")],
)
def test_bytes_are_readable(count, text):
    assert readable_bytes(count) == text


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas is missing: pip install gossamer\[notebooks\]"):
        history().to_frame()


@pytest.mark.parametrize("module", ["history", "plots"])
def test_importing_needs_neither_jax_nor_matplotlib(module):
    """The package's own __init__ aside."""
    code = (
        "import sys, types; sim = types.ModuleType('sim'); sim.__path__ = ['sim']; sys.modules['sim'] = sim; "
        f"import sim.{module}; print({{'jax', 'matplotlib', 'pandas', 'networkx'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
