"""Notice a request to stop, and let the step in hand be finished first."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Whether somebody asked to stop: a batch system's SIGTERM, or Ctrl-C."""

    def __init__(self) -> None:
        self.requested = ""
        """The signal's name; empty until one came."""


@contextmanager
def interruption_noticed() -> Iterator[Interruption]:
    """Note the first signal that asks to stop, instead of dying of it; a second one has its usual effect.

    Only the main thread of a process can handle signals; elsewhere nothing is ever noted.
    """
    noticed = Interruption()
    before: dict[signal.Signals, Any] = {}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        noticed.requested = signal.Signals(number).name
        put_back()

    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return
    for number in STOPPING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):  # what someone chose to ignore stays ignored
            before[number] = signal.signal(number, note)
    try:
        yield noticed
    finally:
        put_back()
