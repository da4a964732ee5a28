"""Tests reach no other machine: what any code under test would try is refused before it leaves this one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

ELSEWHERE = ("192.0.2.1", 80)  # an address kept for examples: no machine has it


@pytest.mark.parametrize(
    "attempt",
    [
        lambda own: own.connect(ELSEWHERE),
        lambda own: own.connect_ex(ELSEWHERE),
        lambda own: own.sendto(b"", ELSEWHERE),
        lambda own: own.sendto(b"", 0, ELSEWHERE),
        lambda own: socket.getaddrinfo(ELSEWHERE[0], 80),
    ],
    ids=["connect", "connect_ex", "sendto", "sendto with flags", "getaddrinfo"],
)
def test_another_machine_is_refused_here(attempt: Callable[[socket.socket], Any]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as own, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        attempt(own)


@pytest.mark.parametrize("host", ["elsewhere.invalid", b"elsewhere.invalid"])
def test_no_name_of_another_machine_is_asked_for(host: str | bytes) -> None:
    with pytest.raises(AssertionError, match=r"elsewhere\.invalid"):
        socket.getaddrinfo(host, 80)
    with pytest.raises(AssertionError, match=r"elsewhere\.invalid"):
        socket.create_connection(("elsewhere.invalid", 80))


def test_this_machine_is_reached() -> None:
    for host in (None, "localhost", "127.0.0.1"):
        assert socket.getaddrinfo(host, 80)
    with suppress(socket.gaierror):  # not every machine knows its own name
        socket.getaddrinfo(socket.gethostname(), 80)
    with socket.socket(type=socket.SOCK_DGRAM) as there, socket.socket(type=socket.SOCK_DGRAM) as here:
        there.bind(("127.0.0.1", 0))
        there.settimeout(10)
        assert here.sendto(b"word", there.getsockname()) == 4
        assert there.recv(8) == b"word"
        here.connect(("localhost", there.getsockname()[1]))
        assert here.connect_ex(there.getsockname()) == 0
