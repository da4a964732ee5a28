"""Tests reach no other machine: what any code under test would try is refused before it leaves this one."""

from __future__ import annotations

import socket

import pytest


def test_a_connection_to_another_machine_is_refused_here() -> None:
    with socket.socket() as own, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        own.connect(("192.0.2.1", 80))  # an address kept for examples: no machine has it
