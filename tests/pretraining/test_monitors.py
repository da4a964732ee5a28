"""Monitors: values worked out by hand, and what a collapse looks like."""

from __future__ import annotations

import math

import pytest
import torch

from vesalius.pretraining.monitors import effective_rank, entropy, found_again


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_rank_is_that_of_its_formula() -> None:
    values = torch.tensor([3.0, 2.0, 1.0])
    directions, _ = torch.linalg.qr(noise(1, 8, 4))
    centred = directions - directions.mean(dim=0)
    basis, _ = torch.linalg.qr(centred[:, :3])
    features = basis @ torch.diag(values) + 7.0  # an offset that all share is not told apart
    p = values / values.sum()
    expected = math.exp(-float((p * p.log()).sum()))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-4)


def test_a_collapse_has_rank_one_and_noise_nearly_as_many_as_channels() -> None:
    assert effective_rank(torch.ones(20, 8)) == 1.0
    assert effective_rank(noise(2, 20, 1) @ noise(3, 1, 8)) == pytest.approx(1.0, abs=1e-3)
    assert 7.5 < effective_rank(noise(4, 400, 8)) <= 8.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_have_no_rank_and_stop_nothing(value: float) -> None:
    features = noise(4, 8, 4)
    features[2, 1] = value
    assert math.isnan(effective_rank(features))


def test_entropy_is_that_of_its_formula_and_nothing_is_undefined() -> None:
    rows = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert entropy(rows).tolist() == pytest.approx([math.log(2), 0.0, math.log(3)], abs=1e-6)


def test_slices_are_found_again_where_their_views_are_alike_and_by_chance_where_not() -> None:
    first = noise(5, 40, 16)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(6))
    assert found_again(first + 100, first + 0.1 * noise(7, 40, 16) + 100) == 1.0
    assert found_again(first, first[order]) < 0.2
    assert found_again(torch.ones(40, 16), torch.ones(40, 16)) < 1.5 / 40
