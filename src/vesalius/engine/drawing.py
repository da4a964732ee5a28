"""Drawing: samples by their seeds, when they are asked for or before their turn.

A sample depends on its seed alone, so it is the same whenever it is drawn.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

Sample = TypeVar("Sample")

Seed = tuple[int, int, int]
"""(seed of the training, step, number of the sample in the step)"""


def all_seeds(seed: int, *, first_step: int, share: range) -> Iterator[Seed]:
    """Yield the seeds of every sample that a process is asked for from a step on, without end."""
    for step in itertools.count(first_step):
        yield from ((seed, step, window) for window in share)


class DrawnAhead(Generic[Sample]):
    """Draws samples before their turn, in threads of their own.

    Args:
        draw: Draws the sample of a seed.
        seeds: All that will be asked for, nearly in their order.
        pool: Draws several at once.
        ahead: Samples that are drawn, or in work, and were not asked for yet.
    """

    def __init__(
        self, draw: Callable[[Seed], Sample], seeds: Iterator[Seed], pool: ThreadPoolExecutor, *, ahead: int
    ) -> None:
        self._draw, self._seeds, self._pool, self._ahead = draw, seeds, pool, ahead
        self._begun: dict[Seed, Future[Sample]] = {}
        self._lock = threading.Lock()

    def __call__(self, seed: Seed) -> Sample:
        """Return the sample of a seed, and have the next ones drawn; to be asked once for each."""
        with self._lock:
            while seed not in self._begun or len(self._begun) <= self._ahead:
                coming = next(self._seeds)
                self._begun[coming] = self._pool.submit(self._draw, coming)
            sample = self._begun.pop(seed)
        return sample.result()


@contextmanager
def drawn_ahead(
    draw: Callable[[Seed], Sample], seeds: Iterator[Seed], *, ahead: int, threads: int
) -> Iterator[Callable[[Seed], Sample]]:
    """Give what returns the sample of a seed; with nothing to be drawn ahead, ``draw`` itself.

    What was drawn in vain when the block ends is forgotten.
    """
    if ahead == 0:
        yield draw
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield DrawnAhead(draw, seeds, pool, ahead=ahead)
    finally:
        pool.shutdown(cancel_futures=True)
