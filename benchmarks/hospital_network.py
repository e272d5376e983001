"""The network of `make hospitals`: two regions and a VPN between them, which can be cut.

As root every site is a host of its own: a network namespace with an address, joined by veth pairs to the bridge of its
region; the VPN is the veth pair between the two bridges, and an outage sets it down. Without root every site stands
behind a proxy (`tests/proxy.py`) on loopback, and an outage holds what goes from one region to the other.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from proxy import Direction, Endpoint, Proxy

PORT = 5710


@dataclass(frozen=True)
class Net:
    """prefix: by site, what to run its commands with. placing: by site, the flags that say where it is. address: by
    site, where others reach it. cut, heal: the VPN between the regions. owns: whose process this is, told by whoever
    starts it."""

    kind: str
    prefix: Mapping[str, list[str]]
    placing: Mapping[str, list[str]]
    address: Mapping[str, str]
    cut: Callable[[], None]
    heal: Callable[[], None]
    owns: Callable[[str, int], None] = lambda site, pid: None


class NetError(RuntimeError):
    """Such a network can't be made here. One line: why, and what to do."""


def possible() -> bool:
    """Whether there can be network namespaces."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None


@contextlib.contextmanager
def namespaces(west: list[str], east: list[str]) -> Iterator[Net]:
    """A host for each site; removed at the end. Raises NetError."""
    mark, made = f"goss{os.getpid()}", []

    def name(host: str) -> str:
        return f"{mark}-{host}"

    def cut(state: str) -> None:
        _ip("-n", name("west"), "link", "set", "vpn", state)

    try:
        for host in ("west", "east", *west, *east):
            _ip("netns", "add", name(host))
            made.append(name(host))
        for region in ("west", "east"):
            _ip("-n", name(region), "link", "add", "br0", "type", "bridge")
            _ip("-n", name(region), "link", "set", "br0", "up")
        _ip("-n", name("west"), "link", "add", "vpn", "type", "veth", "peer", "name", "vpn", "netns", name("east"))
        for region in ("west", "east"):
            _ip("-n", name(region), "link", "set", "vpn", "master", "br0", "up")
        for number, site in enumerate([*west, *east], 1):
            region = "west" if site in west else "east"
            pair = ("type", "veth", "peer", "name", f"to{number}", "netns", name(region))
            _ip("-n", name(site), "link", "add", "eth0", *pair)
            _ip("-n", name(region), "link", "set", f"to{number}", "master", "br0", "up")
            _ip("-n", name(site), "addr", "add", f"10.72.0.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name(site), "link", "set", device, "up")
        address = {site: f"tcp://10.72.0.{number}:{PORT}" for number, site in enumerate([*west, *east], 1)}
        yield Net(
            "namespaces",
            {site: ["ip", "netns", "exec", name(site)] for site in address},
            {site: ["--listen", f"tcp://0.0.0.0:{PORT}", "--advertise", url] for site, url in address.items()},
            address,
            lambda: cut("down"),
            lambda: cut("up"),
        )
    finally:
        for host in made:
            with contextlib.suppress(NetError):
                _ip("netns", "delete", host)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise NetError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}; try --net proxy")


@contextlib.contextmanager
def proxied(west: list[str], east: list[str]) -> Iterator[Net]:
    """A proxy before each site, on loopback."""
    pids: dict[str, int] = {}
    across = Direction()  # What goes from one region to the other, either way.

    def directions(server: str) -> Callable[[Endpoint], tuple[Direction, Direction]]:
        own = Direction(), Direction()

        def chosen(client: Endpoint) -> tuple[Direction, Direction]:
            site = owner(client[1], pids)
            return (across, across) if site and (site in west) != (server in west) else own

        return chosen

    def cut(is_cut: bool) -> None:
        across.is_cut = is_cut

    with contextlib.ExitStack() as stack:
        proxies = {site: stack.enter_context(Proxy(directions=directions(site))) for site in [*west, *east]}
        listening = {}
        for site, proxy in proxies.items():
            with socket.create_server(("127.0.0.1", 0)) as free:
                proxy.target = free.getsockname()
            listening[site] = f"tcp://127.0.0.1:{proxy.target[1]}"
        yield Net(
            "proxy",
            {site: [] for site in proxies},
            {site: ["--listen", listening[site], "--advertise", proxy.url] for site, proxy in proxies.items()},
            {site: proxy.url for site, proxy in proxies.items()},
            lambda: cut(True),
            lambda: cut(False),
            lambda site, pid: pids.update({site: pid}),
        )


def owner(port: int, pids: Mapping[str, int]) -> str | None:
    """Which site's process has this local port on loopback; None if none has."""
    if not Path("/proc/net/tcp").exists():
        words = ["lsof", "-nP", "-a", f"-iTCP:{port}", "-p", ",".join(map(str, pids.values())), "-Fpn"]
        found, pid = subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.splitlines(), 0
        for line in found:
            pid = int(line[1:]) if line.startswith("p") else pid
            if line.startswith("n") and f":{port}->" in line:
                return next(site for site, its in pids.items() if its == pid)
        return None
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}")}
    for site, pid in pids.items():
        with contextlib.suppress(OSError):  # It may have ended.
            if any(os.readlink(entry) in sockets for entry in Path(f"/proc/{pid}/fd").iterdir()):
                return site
    return None
