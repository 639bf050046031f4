from __future__ import annotations

import socket
import socketserver

import pytest

from hindcast.deep.ways.listening import ANY, Server, ports_of
from hindcast.prep.errors import InputError

HERE = "127.0.0.1"


def test_a_range_of_ports_has_both_its_ends() -> None:
    assert list(ports_of("47000-47002")) == [47000, 47001, 47002]
    assert ports_of(None) == ANY


@pytest.mark.parametrize("text", ["47000", "5-3", "0-5", "65000-65536", "a-b", "1-2-3", ""])
def test_what_is_no_range_of_ports_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is no range of ports, such as 47000-47031 \(cluster\.ports"):
        ports_of(text)


def test_a_server_takes_the_first_free_port_of_its_range_and_says_where_there_is_none() -> None:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        taken = probe.getsockname()[1]
        probe.listen()
        free = taken + 1 if taken < 65535 else taken - 1
        server = Server(HERE, "driver", socketserver.BaseRequestHandler, [taken, free])
        try:
            assert (server.address.host, server.address.port) == ("driver", free)
            with pytest.raises(InputError, match=f"^cluster.ports: every port from {taken} to {free} is taken on {HERE}"):
                Server(HERE, "driver", socketserver.BaseRequestHandler, [taken, free])
        finally:
            server.server_close()
    server = Server(HERE, "driver", socketserver.BaseRequestHandler)
    assert server.address.port > 0
    server.server_close()
