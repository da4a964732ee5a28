"""Interruption: the first request is noted, the second has its usual effect, handlers are put back."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from vesalius.engine.interruption import STOPPING, interruption_noticed


def test_the_first_request_is_noted_and_the_second_has_its_usual_effect() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with interruption_noticed() as interruption:
        assert interruption.requested == ""
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_handlers_are_put_back_where_nothing_came() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with interruption_noticed():
        assert all(signal.getsignal(number) not in before for number in STOPPING)
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption_noticed() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.requested == ""
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_beside_the_main_thread_nothing_is_touched() -> None:
    def inside() -> tuple[str, list[object]]:
        with interruption_noticed() as interruption:
            return interruption.requested, [signal.getsignal(number) for number in STOPPING]

    with ThreadPoolExecutor(1) as pool:
        requested, handlers = pool.submit(inside).result()
    assert requested == ""
    assert handlers == [signal.getsignal(number) for number in STOPPING]
