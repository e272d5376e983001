"""Hosts on one machine: network namespaces, joined by veth pairs through a bridge and parted by iptables (root)."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

NETWORK = "10.73.0"


def missing() -> str:
    """Why there can be none here, "" if there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "hosts are network namespaces, which only root can make"
    lacking = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    return f"hosts are network namespaces, which need {' and '.join(lacking)}" if lacking else ""


class Hosts:
    """size hosts; made by `hosts`."""

    def __init__(self, mark: str, size: int) -> None:
        self._names = [f"{mark}-{number}" for number in range(size)]

    @property
    def places(self) -> list[tuple[str, tuple[str, ...]]]:
        """(address, prefix of a command) of each."""
        return [
            (f"tcp://{NETWORK}.{number + 1}:5710", ("ip", "netns", "exec", name))
            for number, name in enumerate(self._names)
        ]

    def part(self, sides: tuple[list[int], list[int]], parted: bool = True) -> None:
        """From now on nothing passes between the two sides, by number; parted False: it does again."""
        for here, there in (sides, sides[::-1]):
            for one in here:
                for other in there:
                    rule = ("INPUT", "-s", f"{NETWORK}.{other + 1}", "-j", "DROP")
                    _run("ip", "netns", "exec", self._names[one], "iptables", "-A" if parted else "-D", *rule)


@contextlib.contextmanager
def hosts(size: int) -> Iterator[Hosts]:
    """So many hosts; they are gone afterwards."""
    mark, made = f"chaos{os.getpid()}", []
    bridge = f"{mark}-bridge"
    try:
        for name in (bridge, *(f"{mark}-{number}" for number in range(size))):
            _run("ip", "netns", "add", name)
            made.append(name)
        _run("ip", "-n", bridge, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", bridge, "link", "set", "br0", "up")
        for number in range(size):
            host = f"{mark}-{number}"
            pair = ("type", "veth", "peer", "name", f"to{number}", "netns", bridge)
            _run("ip", "-n", host, "link", "add", "eth0", *pair)
            _run("ip", "-n", bridge, "link", "set", f"to{number}", "master", "br0", "up")
            _run("ip", "-n", host, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", host, "link", "set", device, "up")
        yield Hosts(mark, size)
    finally:
        for name in made:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", name)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)
