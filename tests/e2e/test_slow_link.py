"""Real agents over a link whose exchanges take longer than a period: they train on, and the run is replayed exactly."""

import json
from pathlib import Path

import numpy as np
from live_agents import Start, address_of
from proxy import Proxy

from agents import load_run
from sim import replay
from transport.addresses import split

STEPS = 400


def test_agents_skip_what_doesnt_fit_and_their_recordings_replay_bit_for_bit(start: Start, tmp_path: Path) -> None:
    common = (
        "run",
        "--task",
        "digits",
        "--steps",
        STEPS,
        "--every",
        "1steps",
        "--wait-for",
        2,
        "--linger",
        0,
        "--json",
    )
    folders = [tmp_path / "run" / "agents" / name for name in ("one", "two")]
    with Proxy() as proxy:
        proxy.up.delay_s = proxy.down.delay_s = 0.1
        first = start(
            *common, "--shard", "0/2", "--name", "one", "--run-dir", folders[0], "--listen", "tcp://127.0.0.1:0"
        )
        proxy.target = split(address_of(first, folders[0]))
        second = start(
            *(*common, "--shard", "1/2", "--name", "two", "--run-dir", folders[1]),
            *("--listen", "none", "--join", proxy.url),
        )
        reports = [json.loads(command.end()) for command in (first, second)]
    for report, folder in zip(reports, folders, strict=True):
        assert report["steps"] == STEPS and 0 < report["exchanges"] < STEPS
        assert report["skipped"] > STEPS / 4, "0.2 s are many steps of this model"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["skipped"] == report["skipped"]
    run, history = load_run(tmp_path / "run"), replay(tmp_path / "run", exact=True, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == run.theta.tobytes()
    np.testing.assert_allclose(run.theta[0], run.theta[1], atol=1e-6)
