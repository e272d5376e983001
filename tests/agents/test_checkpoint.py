"""What lies on disk is whole, named, readable by anyone, and comes back bit for bit."""

import hashlib
import json
import os
import stat
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

from agents import load_consensus, load_run
from agents.checkpoint import FILE, Checkpoint, CheckpointError, load, load_header, load_theta, newest, save
from agents.durable import write_text
from agents.learning.leaves import StateError, from_arrays, to_arrays
from agents.store import Folder
from agents.tensors import CHECKSUM, CHECKSUMS, named, write_safetensors

THETA = np.arange(7, dtype=np.float32) * np.float32(0.1)
PARAMETERS = [("layers/0/w", (2, 2)), ("layers/0/b", (2,)), ("scale", ())]
STANDING = {"agent": "a", "step": 5, "model": "m"}


def test_keys_are_the_parameters_names_and_theta_comes_back_bit_for_bit(tmp_path):
    save(tmp_path / FILE, Checkpoint(THETA, [np.int32(3), np.ones(2, np.float32)], STANDING, PARAMETERS))
    arrays = load_file(tmp_path / FILE)
    assert {name: array.shape for name, array in arrays.items() if "optimizer" not in name} == dict(PARAMETERS)
    found = load(tmp_path / FILE)
    assert found.theta.tobytes() == THETA.tobytes() == load_theta(tmp_path / FILE).tobytes()
    assert (found.facts, found.parameters) == (STANDING, PARAMETERS)
    assert [(leaf.dtype, leaf.tolist()) for leaf in found.optimizer] == [("int32", 3), ("float32", [1, 1])]
    run = load_run(tmp_path)
    assert (run.agents, run.steps.tolist(), run.theta.shape) == (["a"], [5], (1, 7))


@pytest.mark.parametrize("name", ["scale", "learned", "_learned"])
def test_what_a_codec_has_learned_comes_back_bit_for_bit(tmp_path, name):
    learned = np.array([0.5, 1e-30, 3], np.float32)
    parameters = [("w", (2, 3)), (name, ())]
    save(tmp_path / FILE, Checkpoint(THETA, [np.int32(3)], STANDING, parameters, learned))
    found = load(tmp_path / FILE)
    assert found.learned.tobytes() == learned.tobytes() and found.theta.tobytes() == THETA.tobytes()
    assert [leaf.tolist() for leaf in found.optimizer] == [3]
    save(tmp_path / FILE, Checkpoint(THETA, [], STANDING, parameters, np.empty(0, np.float32)))
    assert load(tmp_path / FILE).learned is None


def test_a_checkpoint_of_version_0_1_0_still_loads(tmp_path):
    old = {"theta": THETA, "optimizer/0": np.array(3, np.int32), "optimizer/1": np.ones(2, np.float32)}
    save_file(old, tmp_path / FILE, {"gossamer": json.dumps(STANDING)})
    found = load(tmp_path / FILE)
    assert found.theta.tobytes() == THETA.tobytes() and found.facts == STANDING
    assert [leaf.tolist() for leaf in found.optimizer] == [3, [1, 1]] and found.learned is None
    assert load_run(tmp_path).theta.tobytes() == THETA.tobytes()


@pytest.mark.parametrize(
    "names",
    [("optimizer/0", "optimizer/1"), ("theta", "b"), ("a/b", "a/b"), ("", "__metadata__"), ("a", "a#1"), ("", "")],
    ids=str,
)
def test_no_name_of_a_parameter_costs_its_values(tmp_path, names):
    parameters = [(names[0], (3,)), (names[1], (4,))]
    save(tmp_path / FILE, Checkpoint(THETA, [np.float32(9)], STANDING, parameters))
    found = load(tmp_path / FILE)
    assert found.theta.tobytes() == THETA.tobytes() and found.optimizer[0] == 9


def test_parameters_that_dont_make_up_theta_are_refused():
    with pytest.raises(ValueError, match=r"6 coordinates .* got 7"):
        named(THETA, [("a", (2, 3))])


PARAMS = {"w": jnp.ones((2, 3))}
STATES = {
    "none": lambda: optax.sgd(0.1).init(PARAMS),
    "adam": lambda: optax.adam(1e-3).init(PARAMS),
    "random key": lambda: optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), optax.sgd(0.1)).init(PARAMS),
    "keys of another kind": lambda: {"keys": jax.random.split(jax.random.key(1, impl="rbg"), 2)},
    "bfloat16": lambda: optax.adam(1e-3, mu_dtype=jnp.bfloat16).init(PARAMS),
    "small": lambda: {"a": jnp.ones(3, jnp.float8_e4m3fn), "b": jnp.ones(2, bool), "c": jnp.ones((), jnp.float16)},
}


@pytest.mark.parametrize("made", STATES.values(), ids=STATES)
def test_any_optimizers_state_comes_back_bit_for_bit(tmp_path, made):
    state = made()
    save(tmp_path / FILE, Checkpoint(THETA, to_arrays(state), STANDING, PARAMETERS))
    back = from_arrays(state, list(load(tmp_path / FILE).optimizer))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for was, came in zip(jax.tree.leaves(state), jax.tree.leaves(back), strict=True):
        assert was.dtype == came.dtype
    for was, came in zip(to_arrays(state), to_arrays(back), strict=True):
        assert was.tobytes() == came.tobytes()


def test_a_state_of_another_optimizer_is_refused_in_one_line():
    saved = to_arrays(optax.adam(1e-3).init(PARAMS))
    with pytest.raises(StateError, match=r"saved 3 arrays, this one keeps 1") as raised:
        from_arrays(optax.sgd(0.1, momentum=0.9).init(PARAMS), saved)
    assert "\n" not in str(raised.value)


def test_others_may_read_it_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        save(tmp_path / FILE, Checkpoint(THETA, [], STANDING, PARAMETERS))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o640


def killed_while_writing(path: Path) -> None:
    """What safetensors leaves behind when the process ends in the middle of a file."""
    folder = path.with_name(f".{path.name}.new")
    folder.mkdir()
    (folder / ".tmpAbCdEf").write_bytes(b"x" * 1000)


def test_what_a_killed_writer_left_goes_with_the_next_start_and_the_next_save(tmp_path):
    save(tmp_path / FILE, Checkpoint(THETA, [], STANDING, PARAMETERS))
    for again in (
        lambda: Folder(tmp_path, {}),
        lambda: save(tmp_path / FILE, Checkpoint(THETA + 1, [], STANDING, PARAMETERS)),
    ):
        killed_while_writing(tmp_path / FILE)
        again()
        assert {path.name for path in tmp_path.iterdir()} == {FILE, "agent.json"}
    assert load_theta(tmp_path / FILE)[0] == 1


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_safetensors(tmp_path / "x", {"a": THETA}, {})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(tmp_path / "x", {"a": THETA + 1}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert load_file(tmp_path / "x")["a"].tobytes() == THETA.tobytes()


def test_what_has_no_older_files_of_its_own_removes_nobody_elses(tmp_path):
    """As `agent consensus --out merged.safetensors` where merged.1.safetensors is another model."""
    for name in ("merged.1.safetensors", "merged.2.safetensors", "merged.1.json"):
        (tmp_path / name).write_text("another model's")
    write_safetensors(tmp_path / "merged.safetensors", {"a": THETA}, {})
    write_text(tmp_path / "merged.json", "{}")
    assert (tmp_path / "merged.json").read_text() == "{}"
    assert {path.name for path in tmp_path.glob("*.[12].*") if path.read_text() == "another model's"} == {
        *("merged.1.safetensors", "merged.2.safetensors", "merged.1.json")
    }


def test_a_full_disk_costs_a_warning_and_not_the_training(tmp_path, monkeypatch, caplog):
    folder = Folder(tmp_path, {})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    stand = Checkpoint(THETA, [], STANDING, PARAMETERS)
    assert [folder.save(stand) for _ in range(3)] == [False] * 3
    [warning] = caplog.messages  # rate-limited
    assert FILE in warning and "No space left on device" in warning
    monkeypatch.undo()
    assert folder.save(stand) and load_header(tmp_path / FILE).size == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_metrics_that_cant_be_written_cost_a_warning(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    folder = Folder(tmp_path, {})
    folder.open()
    for step in range(3):
        folder.measure({"step": step, "loss": float("nan")}, always=True)
    folder.close()
    assert len(caplog.messages) == 1 and "No space left on device" in caplog.text


def test_metrics_are_json_whatever_the_numbers(tmp_path):
    folder = Folder(tmp_path, {})
    folder.open()
    folder.measure({"loss": float("nan"), "top3": float("inf"), "step": 1})
    folder.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert (line["loss"], line["top3"], line["step"]) == (None, None, 1)


def test_what_makes_no_run_is_refused_in_one_line(tmp_path):
    save(tmp_path / "agents" / "a" / FILE, Checkpoint(THETA, [], STANDING, PARAMETERS))
    save(tmp_path / "agents" / "b" / FILE, Checkpoint(THETA[:3], [], STANDING | {"agent": "b"}))
    with pytest.raises(CheckpointError, match="models of 3 and 7 parameters"):
        load_run(tmp_path)
    save(tmp_path / "agents" / "b" / FILE, Checkpoint(THETA, [], {"agent": "b"}, PARAMETERS))
    with pytest.raises(CheckpointError, match="lacks its agent or step"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [{}, {"gossamer": "no json"}, {"gossamer": "[1]"}, {"gossamer": "{}", "parameters": '["w"]', "optimizer": "[]"},
     {"gossamer": "{}", "parameters": '[["gone", [7]]]', "optimizer": "[]"},
     {"gossamer": "{}", "parameters": '[["theta", [7]]]', "optimizer": '[["theta", "nonsense"]]'}],
)  # fmt: skip
def test_what_is_no_checkpoint_is_named_in_one_line(tmp_path, metadata):
    save_file({"theta": THETA}, tmp_path / FILE, metadata)
    with pytest.raises(CheckpointError, match="is no checkpoint of an agent") as raised:
        load(tmp_path / FILE)
    assert "\n" not in str(raised.value)


DEEP = "[" * 100_000
WHOLE = {"gossamer": "{}", "parameters": '[["theta", [1]]]', "optimizer": "[]"}


@pytest.mark.parametrize(
    ("metadata", "sums", "dtype"),
    [*((WHOLE | {key: DEEP}, "{}", "F32") for key in WHOLE), (WHOLE, DEEP, "F32"),
     *((WHOLE, sums, "F32") for sums in ("[]", "null", "7", '{"theta": 7}')),
     *((WHOLE, "{}", dtype) for dtype in ("F8_E4M3", "F8_E5M2", "F4"))],
)  # fmt: skip
def test_what_somebody_made_to_end_its_reader_is_no_checkpoint_either(tmp_path, metadata, sums, dtype):
    texts = metadata | {CHECKSUMS: sums}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
    size = 4 if dtype == "F32" else 1
    array = {"dtype": dtype, "shape": [2 if dtype == "F4" else 1], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": texts | {CHECKSUM: digest}, "theta": array}).encode()
    (tmp_path / FILE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(CheckpointError, match="is no checkpoint of an agent"):
        load(tmp_path / FILE)
    assert newest(tmp_path / FILE) is None
    with pytest.raises(CheckpointError, match="is no consensus model"):
        load_consensus(tmp_path / FILE)
