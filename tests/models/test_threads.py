"""How many threads a worker computes with concerns nobody else."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vesalius.models.threads import compute_with


def in_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.fixture
def three_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_pools_at_work_at_once_leave_new_threads_as_they_were() -> None:
    looked, begun = threading.Barrier(2), threading.Barrier(2)

    def run(threads: int) -> tuple[int, int]:
        outside = torch.get_num_threads()
        looked.wait(timeout=30)  # a thread whose first look falls into the other's initializer would see its number
        with ThreadPoolExecutor(1, initializer=compute_with, initargs=(threads,)) as pool:
            inside = pool.submit(torch.get_num_threads).result()
            begun.wait(timeout=30)
        return outside, inside

    with ThreadPoolExecutor(2) as runs:
        answers = list(runs.map(run, (1, 2)))
    assert answers == [(3, 1), (3, 2)]
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 3)


@pytest.mark.usefixtures("three_threads")
def test_without_it_new_threads_would_change() -> None:
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pool.submit(int).result()
    assert in_a_new_thread() == 1
