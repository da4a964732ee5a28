"""Inquiry: gradients are added in order and within bounds; what the loss does not touch has none."""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.line_task import LineTask, line_learner
from vesalius.engine.inquiry import Gradients, Inquiry, Numbers, accumulated, added
from vesalius.engine.task import Outcome


class Uneven(LineTask):
    """Takes longest for the sample that was drawn first, and counts how many wait."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.begun = 0

    def draw(self, rng: np.random.Generator) -> Tensor:
        with self.lock:
            self.begun += 1
            place = self.begun
        time.sleep(0.02 if place % 4 == 1 else 0.0)
        return super().draw(rng)


def inquiry(task: LineTask) -> Inquiry[nn.Sequential, Tensor]:
    network = line_learner().network
    return Inquiry(partial(drawn, task), task.outcome, network, {"square": 1.0, "bias": 0.5}, "fp32")


def drawn(task: LineTask, seed: tuple[int, int, int]) -> Tensor:
    return task.draw(np.random.default_rng(seed))


def sums(task: LineTask, *, workers: int, ahead: int) -> tuple[list[Tensor], list[dict[str, float]]]:
    seeds = [(0, 0, window) for window in range(9)]
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        total, numbers = accumulated(inquiry(task), seeds, pool, ahead=ahead)
    return list(total), numbers  # type: ignore[arg-type]


def test_the_sum_and_its_order_do_not_depend_on_how_many_work() -> None:
    alone, numbers = sums(LineTask(), workers=1, ahead=1)
    several, other_numbers = sums(Uneven(), workers=4, ahead=5)
    assert all(torch.equal(one, other) for one, other in zip(alone, several, strict=True))
    assert [record["square"] for record in numbers] == [record["square"] for record in other_numbers]
    assert len(numbers) == 9


class Held(LineTask):
    """Waits in the middle of its first sample."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.gate = threading.Event()

    def draw(self, rng: np.random.Generator) -> Tensor:
        self.begun.append(1)
        if len(self.begun) == 1:
            self.gate.wait(10)
        return super().draw(rng)


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_samples_begin_than_may_wait(ahead: int) -> None:
    task, seeds = Held(), [(0, 0, window) for window in range(12)]
    with ThreadPoolExecutor(8) as pool, ThreadPoolExecutor(1) as outside:
        done = outside.submit(accumulated, inquiry(task), seeds, pool, ahead=ahead)
        time.sleep(0.3)
        begun = len(task.begun)
        task.gate.set()
        done.result()
    assert begun == ahead
    assert len(task.begun) == 12


class HalfTask(LineTask):
    """Asks only the first of two layers."""

    def outcome(self, network: nn.Module, sample: Tensor) -> Outcome:
        return Outcome({"square": network[0](sample[0][:, None]).square().mean()})  # type: ignore[index]


def test_tensors_that_the_loss_does_not_touch_have_no_gradient() -> None:
    task = HalfTask()
    asked = Inquiry(partial(drawn, task), task.outcome, line_learner().network, {"square": 1.0}, "fp32")
    gradients, _ = asked((0, 0, 0))
    assert [gradient is None for gradient in gradients] == [False, False, True, True]


def test_terms_that_a_sample_was_not_asked_for_count_in_the_loss_and_not_in_the_log() -> None:
    class Silent(LineTask):
        def outcome(self, network: nn.Module, sample: Tensor) -> Outcome:
            return replace(super().outcome(network, sample), unasked=frozenset({"bias"}))

    (whole, logged), (same, fewer) = (inquiry(task)((0, 0, 0)) for task in (LineTask(), Silent()))
    assert logged.keys() - fewer.keys() == {"bias"}
    assert {**logged, **fewer} == logged
    assert all(torch.equal(one, other) for one, other in zip(whole, same, strict=True))  # type: ignore[arg-type]


class Watching(Inquiry[nn.Module, Tensor]):
    """Notes how many gradients of earlier samples are still in memory when the next one is looked at."""

    kept: ClassVar[list[weakref.ref[Tensor]]] = []
    held: ClassVar[list[int]] = []

    def __call__(self, seed: tuple[int, int, int]) -> tuple[Gradients, Numbers]:
        self.held.append(sum(one() is not None for one in self.kept))
        gradients, numbers = super().__call__(seed)
        self.kept.extend(weakref.ref(one) for one in gradients if one is not None)
        return gradients, numbers


def test_a_sample_s_gradients_are_let_go_before_the_next_one_s_are_made() -> None:
    Watching.kept.clear()
    Watching.held.clear()
    usual = inquiry(LineTask())
    watching = Watching(usual.draw, usual.ask, usual.network, usual.weights, usual.precision)
    with ThreadPoolExecutor(1) as pool:
        accumulated(watching, [(0, 0, window) for window in range(4)], pool, ahead=1)
    assert watching.held == [0, 0, 0, 0]
    assert len(watching.kept) == 4 * len(list(usual.network.parameters()))


def test_none_counts_as_nothing_in_a_sum() -> None:
    one, two = (torch.full((2,), value, dtype=torch.float64) for value in (1.0, 2.0))
    total = added([one, None, one.clone(), None], [two, two, None, None])
    assert [None if part is None else part.tolist() for part in total] == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0], None]
    assert total[0] is one, "a second sum would be in memory"
    added(total, [two] * 4)
    assert two.tolist() == [2.0, 2.0], "a sample's gradients stay as they are, the first one's too"


def test_sums_are_wide_whichever_sample_is_the_first_with_a_gradient() -> None:
    tiny = 2.0**-30  # float32 would lose it beside 1

    def ask(network: nn.ParameterList, seed: tuple[int, int, int]) -> Outcome:
        parts = network[:1] if seed[2] == 0 else network
        return Outcome({"sum": (1.0 if seed[2] == 1 else tiny) * torch.stack(list(parts)).sum()})

    network = nn.ParameterList([torch.zeros(()), torch.zeros(())])
    asked = Inquiry(lambda seed: seed, ask, network, {"sum": 1.0}, "fp32")
    with ThreadPoolExecutor(1) as pool:
        total, _ = accumulated(asked, [(0, 0, window) for window in range(4)], pool, ahead=1)
    assert [None if part is None else part.item() for part in total] == [1 + 3 * tiny, 1 + 2 * tiny]
