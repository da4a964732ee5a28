"""Fixtures and checks that every test shares: shapes are checked while tests run, shared data is found."""

from __future__ import annotations

import functools
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shape_checks import install

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (getattr(signal, "SIGHUP", signal.SIGTERM), signal.SIG_DFL),
):
    # What nohup or a background job ignores, every child ignores too: tests of signals would wait for ever.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

install()

# On a busy machine any example may take a second, whatever it does: time is no property of the code under test.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

# Half a million objects come with what is imported, and stay: looked through again and again, they cost a tenth of
# the time until the first test. They are let be until all is collected, and then for good.
gc.disable()

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_finish() -> None:
    """Look for garbage again from here on, among what tests make."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """What is written survives a killed process without waiting for the disk; no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Nothing here needs a network: whoever reaches for another machine fails, also where one would answer.

    Watched are ``connect``, ``connect_ex``, ``sendto`` and ``getaddrinfo`` in this process.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _near(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", _near_name(socket.getaddrinfo))
        yield


def _near(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a socket's method, of which an address is the last argument, for this machine only."""

    @functools.wraps(method)
    def near(own: socket.socket, *args: Any) -> Any:
        if own.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_others(args[-1][0])
        return method(own, *args)

    return near


def _near_name(look_up: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``getaddrinfo`` for this machine only; None and "" are no machine's name."""

    @functools.wraps(look_up)
    def near(host: bytes | str | None, *args: Any, **how: Any) -> Any:
        if host:
            _refuse_others(host.decode() if isinstance(host, bytes) else host)
        return look_up(host, *args, **how)

    return near


def _refuse_others(host: str) -> None:
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host.lower() in ("localhost", socket.gethostname().lower())
    if not is_here:
        raise AssertionError(f"a connection to {host} was tried")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real scans beside the checkout; tests that want it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    return SHARED_DATA
