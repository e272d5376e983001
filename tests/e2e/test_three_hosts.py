"""Agents on hosts of their own: network namespaces, joined by veth pairs through a bridge that is no host itself."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_agents import Start, measures

from transport.keys import new_key, write_key

HOSTS = ("a", "b", "c")
SHORT = ("--steps", 200, "--no-evaluate", "--linger", 1, "--stay", 120, "--settle", 20, "--wait-for", 2)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, list[str]]]:
    """How to run a command on each host; they are 10.71.0.1, .2 and .3."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("hosts are network namespaces: that needs root and iproute2's `ip`")
    mark = f"goss{os.getpid()}"
    made = []
    try:
        try:
            for name in (*HOSTS, "bridge"):
                ip("netns", "add", f"{mark}{name}")
                made.append(f"{mark}{name}")
            bridge = f"{mark}bridge"
            ip("-n", bridge, "link", "add", "br0", "type", "bridge")
            ip("-n", bridge, "link", "set", "br0", "up")
            for number, name in enumerate(HOSTS, 1):
                host = f"{mark}{name}"
                ip("-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", bridge)
                ip("-n", bridge, "link", "set", f"to-{name}", "master", "br0", "up")
                ip("-n", host, "addr", "add", f"10.71.0.{number}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    ip("-n", host, "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(
                f"hosts are network namespaces: `{' '.join(error.cmd)}` failed: {error.stderr.decode().strip()}"
            )
        yield {name: ["ip", "netns", "exec", f"{mark}{name}"] for name in HOSTS}
    finally:
        for name in made:
            ip("netns", "delete", name)


@pytest.mark.parametrize("listening", ["tcp://0.0.0.0:5710", "none"], ids=["listening", "behind NAT"])
def test_two_hosts_train_and_a_third_assembles(
    start: Start, tmp_path: Path, hosts: dict[str, list[str]], listening: str
) -> None:
    address, secret = "tcp://10.71.0.1:5710", ("--secret", tmp_path / "secret")
    write_key(tmp_path / "secret", new_key())
    first = start(
        *("run", "--task", "digits", "--listen", "tcp://0.0.0.0:5710", "--shard", "0/2", "--name", "first", *SHORT),
        *("--run-dir", tmp_path / "first", *secret),
        prefix=hosts["a"],
    )
    second = start(
        *("run", "--task", "digits", "--listen", listening, "--shard", "1/2", "--name", "second", *SHORT),
        *("--run-dir", tmp_path / "second", "--join", address, *secret),
        prefix=hosts["b"],
    )
    first.wait_for(lambda: measures(tmp_path / "first"), "it trains")
    status = json.loads(start("status", "--json", "--join", address, *secret, "--timeout", 20, prefix=hosts["c"]).end())
    addresses = {member["agent"]: member["address"] for member in status["members"]}
    assert addresses == {"first": address, "second": "tcp://10.71.0.2:5710" if listening != "none" else ""}
    card = json.loads(
        start("consensus", "--wait", "--json", "--join", address, *secret, "--timeout", 20, prefix=hosts["c"]).end()
    )
    assert (card["agents"], card["missing"]) == (["first", "second"], [])
    assert card["steps"] == {"first": 200, "second": 200}
    assert card["accuracy"] > 0.85
    assert "127.0.0.1" not in first.stderr + second.stderr
    first.end()
    second.end()
    assert all(measures(tmp_path / name)[-1]["exchanges"] > 0 for name in ("first", "second"))
