"""Fixtures and checks that every test shares: shapes are checked while tests run, shared data is found."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
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

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """What is written survives a killed process without waiting for the disk; no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Nothing here needs a network: whoever connects to another machine fails, also where one would answer."""
    connect = socket.socket.connect

    def near(own: socket.socket, address: Any) -> None:
        if own.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _THIS_MACHINE:
            raise AssertionError(f"a connection to {address[0]} was tried")
        connect(own, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", near)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real scans beside the checkout; tests that want it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    return SHARED_DATA
