"""An agent with few file descriptors, at which thousands of connections are opened."""

import socket
from pathlib import Path

from live_agents import Start, address_of, last_step, measures

from agents.checkpoint import CheckpointError, load_header
from transport.addresses import split

FEW = ("prlimit", "--nofile=256:256")


def saved_step(folder: Path) -> int:
    try:
        return int(load_header(folder / "checkpoint.safetensors").facts["step"])
    except CheckpointError:
        return 0


def test_idle_connections_end_neither_checkpoints_nor_exchanges_nor_keep_others_out(
    start: Start, tmp_path: Path
) -> None:
    common = ("run", "--task", "digits", "--no-evaluate", "--steps", 1_000_000, "--every", "10steps")
    one = start(
        *(*common, "--shard", "0/2", "--run-dir", tmp_path / "one", "--listen", "tcp://127.0.0.1:0"),
        *("--checkpoint-every", 0.2),
        prefix=FEW,
    )
    address = address_of(one, tmp_path / "one")
    idle = [socket.create_connection(split(address), 30) for _ in range(1_000)]
    reached = last_step(tmp_path / "one")
    one.wait_for(lambda: saved_step(tmp_path / "one") > reached, "it saves")
    start(*common, "--shard", "1/2", "--run-dir", tmp_path / "two", "--listen", "none", "--join", address)
    one.wait_for(lambda: [each for each in measures(tmp_path / "one") if each["exchanges"] > 20], "they exchange")
    idle += [socket.create_connection(split(address), 30) for _ in range(1_000)]
    reached, exchanged = last_step(tmp_path / "one"), measures(tmp_path / "one")[-1]["exchanges"]
    one.wait_for(lambda: saved_step(tmp_path / "one") > reached, "it saves again")
    one.wait_for(lambda: measures(tmp_path / "one")[-1]["exchanges"] > exchanged + 20, "they go on exchanging")
    assert "Traceback" not in one.stderr
    for each in idle:
        each.close()
