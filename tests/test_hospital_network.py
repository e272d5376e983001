"""Without root, `make hospitals` cuts regions apart by proxies that know whose connection each is."""

import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from hospital_network import proxied

from transport.addresses import split

TIMEOUT_S = 10.0


def connected(net, site):
    """A connection of this process to a site: its two ends."""
    with socket.create_server(split(net.placing[site][1])) as listener:
        client = socket.create_connection(split(net.address[site]), TIMEOUT_S)
        server, _ = listener.accept()
    server.settimeout(TIMEOUT_S)
    return client, server


def test_an_outage_cuts_off_the_other_region_alone():
    with proxied(["a", "b"], ["c"]) as net:
        net.owns("a", os.getpid())
        near, far = connected(net, "b"), connected(net, "c")
        net.cut()
        for client, _ in (near, far):
            client.sendall(b"x")
        assert near[1].recv(1) == b"x"
        far[1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            far[1].recv(1)
        net.heal()
        far[1].settimeout(TIMEOUT_S)
        assert far[1].recv(1) == b"x"
        for end in (*near, *far):
            end.close()
