"""Prometheus is served what metrics.jsonl has, the dashboard asks for nothing else, and a port in use is one line."""

import json
import re
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from agents.command.supervise import following
from agents.sinks.measures import FIELDS
from agents.sinks.names import place
from agents.sinks.opening import feeds_of
from agents.sinks.prometheus import Prometheus
from agents.sinks.sink import About, Point, SinkError

ROOT = Path(__file__).parents[3]
LINE = {name: float(number) for number, name in enumerate(FIELDS) if name not in ("time", "bytes_by_codec")}
BYTES = {"float32": 40.0, "lattice:4": 5.0, "lattice:4+segments:1/5": 1.0}
JUDGED = {"test_accuracy": 0.75, "validation_loss": 0.5}


def scraped(*lines: dict[str, float]) -> dict[str, float]:
    """What is served after these lines of metrics: by name with labels."""
    sink = Prometheus("127.0.0.1", 0, "the-run", 'a "name"')
    try:
        for values in lines:
            sink.write(Point(0.0, 1, values, {"bytes_by_codec": BYTES} if values.keys() >= LINE.keys() else {}))
        with urlopen(sink.url) as answer:
            text = answer.read().decode()
    finally:
        sink.close()
        sink.close()
    samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def test_every_field_is_served_with_its_labels() -> None:
    found, agent, run = scraped(LINE | JUDGED), 'agent="a \\"name\\""', 'run="the-run"'
    expected = {
        f"gossamer_{name}{'_total' if FIELDS[name].counts else ''}{{{agent},{run}}}": value
        for name, value in LINE.items()
        if name in FIELDS
    }
    for codec, value in BYTES.items():
        expected[f'gossamer_bytes_by_codec_total{{{agent},codec="{codec}",{run}}}'] = value
    expected |= {f'gossamer_test{{{agent},metric="accuracy",{run}}}': 0.75}
    expected |= {f'gossamer_validation{{{agent},metric="loss",{run}}}': 0.5}
    assert found == expected


def test_between_two_evaluations_the_last_one_is_served_and_a_loss_that_is_not_finite_is_not() -> None:
    names = [name.partition("{")[0] for name in scraped({"step": 1, "loss": 0.5, **JUDGED}, {"step": 2})]
    assert names == ["gossamer_step", "gossamer_test", "gossamer_validation"]


def test_the_dashboard_asks_for_what_is_served_and_for_all_of_it() -> None:
    text = (ROOT / "deploy" / "grafana.json").read_text()
    asked = {name for name in re.findall(r"gossamer_\w+", text)}
    assert asked == {name.partition("{")[0] for name in scraped(LINE | JUDGED)}
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) and all(panel["targets"] for panel in panels)


def test_a_port_in_use_is_one_line_and_whoever_is_refused_leaves_none_behind(tmp_path: Path) -> None:
    about = About(tmp_path, "run", "agent", {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SinkError, match=rf"--prometheus 127.0.0.1:{port} can't be served .*: give a free port"):
            feeds_of([], str(port), about)
    feeds = feeds_of([], str(port), about)
    assert feeds.line == f"metrics for Prometheus: http://127.0.0.1:{port}/metrics"
    feeds.close()  # Before it was started, as by an agent that is refused for another reason.
    feeds_of([], str(port), about).close()


def test_agents_of_a_launch_serve_on_the_ports_that_follow() -> None:
    assert [following("9100", index) for index in range(2)] == ["127.0.0.1:9100", "127.0.0.1:9101"]
    assert following("0.0.0.0:0", 3) == "0.0.0.0:0"
    assert place("[::1]:9100") == ("::1", 9100)
