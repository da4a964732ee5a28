"""Drawing ahead: each sample once, the next ones before they are asked for, no more than allowed."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from vesalius.engine.drawing import Seed, all_seeds, drawn_ahead


def until(begun: list[Seed], count: int) -> None:
    """Wait until so many draws have begun, and a little longer for those that should not."""
    end = time.monotonic() + 10
    while len(begun) < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)


def test_seeds_are_those_of_the_share_step_after_step() -> None:
    seeds = all_seeds(7, first_step=3, share=range(1, 5, 2))
    assert list(itertools.islice(seeds, 5)) == [(7, 3, 1), (7, 3, 3), (7, 4, 1), (7, 4, 3), (7, 5, 1)]


def test_the_next_samples_are_drawn_before_they_are_asked_for_and_no_more() -> None:
    begun: list[Seed] = []

    def draw(seed: Seed) -> int:
        begun.append(seed)
        return 100 * seed[1] + seed[2]

    seeds = all_seeds(0, first_step=0, share=range(2))
    with drawn_ahead(draw, seeds, ahead=3, threads=2) as ahead:
        assert ahead((0, 0, 0)) == 0
        until(begun, 4)
        assert sorted(begun) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
        assert ahead((0, 1, 0)) == 100  # out of turn, as when several threads ask
        assert ahead((0, 0, 1)) == 1
        until(begun, 6)
        assert len(begun) == 6
    assert len(set(begun)) == len(begun)


def test_they_are_drawn_at_once_and_their_errors_reach_who_asks() -> None:
    together = threading.Barrier(2, timeout=10)

    def draw(seed: Seed) -> int:
        if seed[1] == 0:
            together.wait()  # passes only when two draw at once
        if seed[2] == 1:
            raise ZeroDivisionError
        return seed[2]

    with drawn_ahead(draw, all_seeds(0, first_step=0, share=range(2)), ahead=1, threads=2) as ahead:
        assert ahead((0, 0, 0)) == 0
        with pytest.raises(ZeroDivisionError):
            ahead((0, 0, 1))


def test_with_nothing_to_be_drawn_ahead_samples_are_drawn_when_asked_for() -> None:
    def draw(seed: Seed) -> int:
        return seed[1]

    with drawn_ahead(draw, iter(()), ahead=0, threads=2) as ahead:
        assert ahead is draw
