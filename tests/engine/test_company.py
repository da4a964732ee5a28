"""Company: all samples of a step, in their order, whoever works on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from vesalius.engine.company import Company
from vesalius.engine.team import Team


@dataclass(frozen=True)
class Rehearsed(Team):
    """A team whose other members have said already what they will say."""

    others: tuple[list[int], ...] = ()

    def gather(self, thing: list[int]) -> list[list[int]]:  # type: ignore[override]
        return [*self.others[: self.rank], thing, *self.others[self.rank :]]


@pytest.mark.parametrize("rank", range(3))
@pytest.mark.parametrize("samples", [3, 7, 8])
def test_what_every_process_says_of_its_samples_comes_in_the_order_of_the_step(rank: int, samples: int) -> None:
    said = [list(Team(n, 3).share(samples)) for n in range(3)]
    team = Rehearsed(rank, 3, others=tuple(one for n, one in enumerate(said) if n != rank))
    assert Company(team=team).everyone(said[rank]) == list(range(samples))


@pytest.mark.parametrize("threads", [None, 2])
def test_each_is_worked_on_in_its_order_without_gradients_and_in_the_precision_of_the_training(
    threads: int | None,
) -> None:
    weight = torch.ones(2, 2, requires_grad=True)

    def work(factor: float) -> torch.Tensor:
        return torch.full((1, 2), factor) @ weight

    with ThreadPoolExecutor(threads or 1) as pool:
        company = Company(pool if threads else None, precision="bf16")
        done: Sequence[torch.Tensor] = company.each(work, [1.0, 2.0, 3.0])
    assert [float(one[0, 0]) for one in done] == [2.0, 4.0, 6.0]
    assert not any(one.requires_grad for one in done)
    assert all(one.dtype == torch.bfloat16 for one in done)
    assert Company().each(work, [1.0])[0].dtype == torch.float32
