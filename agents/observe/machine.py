"""Looks whether an agent can take part from this machine: its device, limits, clock, disk, ports and address.

Each check gives a finding: what was found, whether it is well, and what to do if it isn't. Nothing is changed.
"""

import ctypes
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

from agents.claim import FolderInUse, check_free
from agents.descriptors import acceptable, dialable
from agents.durable import hindrance
from agents.protocol.limits import MAX_DIALED, MAX_ROUTES
from transport.addresses import is_loopback, split, without_key

WELL, WARNING, PROBLEM = "ok", "warning", "problem"

DEVICE_S = 120.0
"""A device that doesn't answer for so long is taken for stopped."""

DEVICES = """
import json, jax
print(json.dumps({"backend": jax.default_backend(), "devices": [str(each.device_kind) for each in jax.devices()]}))
"""

UNSYNCHRONIZED = 5
"""What adjtimex(2) returns where nothing keeps the clock."""

FREE_BYTES = 1e9
"""Of a disk, below which checkpoints and recordings may not fit for long."""


class Finding(NamedTuple):
    """What one check found. state: "ok", "warning" or "problem". advice: what to do, "" where all is well."""

    check: str
    state: str
    found: str
    advice: str = ""


def software() -> Finding:
    """The versions of what matters here."""
    found = [f"Python {sys.version.split()[0]}"]
    for package in ("gossamer", "jax", "jaxlib", "pyzmq"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed as a package")
    return Finding("software", WELL, ", ".join(found))


def device(run: Callable[..., "subprocess.CompletedProcess[str]"] = subprocess.run) -> Finding:
    """What JAX computes on. It is asked in a process of its own, since a broken driver can hang for ever."""
    try:
        done = run([sys.executable, "-c", DEVICES], capture_output=True, text=True, timeout=DEVICE_S)
    except subprocess.TimeoutExpired:
        advice = "look at the driver (nvidia-smi), or train on the CPU with JAX_PLATFORMS=cpu"
        return Finding("device", PROBLEM, f"JAX doesn't name its devices within {DEVICE_S:g} s", advice)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("device", PROBLEM, f"JAX doesn't start: {last[:200]}", "install jax for this machine's device")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    found = f"{report['backend']}: {', '.join(report['devices'])}"
    if report["backend"] == "cpu" and Path("/proc/driver/nvidia").exists():
        return Finding("device", WARNING, f"{found}, though there is a GPU", "pip install 'gossamer[gpu]'")
    return Finding("device", WELL, found)


def files() -> Finding:
    """For how many connections the process may have file descriptors."""
    opened, accepted = dialable(), acceptable()
    found = f"room for {opened} connections that we open and {accepted} that others open"
    if opened < MAX_DIALED or accepted < MAX_ROUTES:
        return Finding("open files", WARNING, found, "for a larger swarm raise the limit, as by ulimit -n 65536")
    return Finding("open files", WELL, found)


def clock() -> Finding:
    """Whether something keeps the clock: agents order nothing by it, but invitations end by it."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    try:
        asked = ctypes.create_string_buffer(512)  # A struct timex of zeros, which only asks.
        state = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    except (OSError, AttributeError, TypeError):  # macOS and Windows.
        return Finding("clock", WELL, f"{now}; whether it is kept isn't known on this system")
    if state == UNSYNCHRONIZED:
        advice = "agents order nothing by clocks, but invitations end by them: run an NTP service"
        return Finding("clock", WARNING, f"{now}; nothing keeps it", advice)
    return Finding("clock", WELL, f"{now}; it is kept")


def disk(folder: Path) -> Finding:
    """Whether a run can have this folder: one that is there or can be made, that nobody holds, and that has room."""
    try:
        check_free(folder)
    except (FolderInUse, OSError) as error:
        return Finding("disk", PROBLEM, str(error), "give another --run-dir")
    if why := hindrance(folder):
        return Finding("disk", PROBLEM, why, "give another --run-dir")
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free < FREE_BYTES:
        return Finding("disk", WARNING, found, "make room: an agent that can't write trains on, without checkpoints")
    return Finding("disk", WELL, found)


def served(prometheus: str, host: str, port: int) -> Finding:
    """Whether metrics can be served at this host and port. prometheus: as it was given."""
    try:
        with _bound(host, port):
            pass
    except OSError as error:
        found = f"--prometheus {prometheus} can't be served: {error.strerror or error}"
        return Finding("prometheus", PROBLEM, found, "give a free port of this machine, or port 0 for any")
    return Finding("prometheus", WELL, f"port {port} of {host} is free" if port else f"any port of {host}")


def listening(listen: str | None, published: str) -> Finding:
    """Whether we can listen there, and reach ourselves at the address that others would be given.

    listen: where, None behind NAT. published: the address, "" for none.
    """
    if listen is None:
        return Finding("address", WELL, "none: this agent calls the others (--listen none)")
    host, port = split(without_key(listen).replace(":*", ":0"))
    try:
        with _bound(host, port) as server:
            return _reached(server, published, server.getsockname()[1])
    except OSError as error:
        advice = "another process holds the port, or this machine has no such address: choose another --listen"
        return Finding("address", PROBLEM, f"can't listen at {listen}: {error.strerror or error}", advice)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Raises OSError."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen()
        yield server


def _reached(server: socket.socket, published: str, port: int) -> Finding:
    """Whether a connection to the published address ends at this socket. port: in place of port 0."""
    if not published:
        return Finding(
            "address", WARNING, "no address that others could use is known", "give --advertise tcp://HOST:PORT"
        )
    host, named = split(without_key(published))
    found = f"tcp://{host}:{named or port}"
    if is_loopback(published):
        return Finding("address", WELL, f"{found}, for agents on this machine alone")
    server.settimeout(3.0)
    try:
        with socket.create_connection((host, named or port), timeout=3.0) as client:
            accepted, origin = server.accept()
            accepted.close()
            ours = origin[1] == client.getsockname()[1]
    except OSError as error:
        advice = "give --advertise as others reach this machine, and let the port through its firewall"
        return Finding("address", WARNING, f"{found} doesn't lead back here: {error}", advice)
    if not ours:
        return Finding("address", WARNING, f"{found} leads to another process", "give --advertise with our own port")
    elsewhere = "whether it does from another, `agent doctor --join` there shows once an agent listens here"
    return Finding("address", WELL, f"{found} leads here from this machine; {elsewhere}")
