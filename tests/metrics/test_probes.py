"""Probes find what features hold, say shares that sum to 1, and depend on no scale, order or seed."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import UsageError
from vesalius.metrics.probes import Standard, dice_threshold, fit_linear, nearest_neighbours


def clouds(count: int, *, seed: int, spread: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes in a plane that lies in eight dimensions, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(count) % 3
    angles = 2 * torch.pi * which / 3
    plane = torch.stack([angles.cos(), angles.sin()], dim=1)
    features = torch.randn(count, 8, generator=generator) * spread
    features[:, :2] += plane
    return features + 50, torch.nn.functional.one_hot(which, 3).float()


@pytest.mark.parametrize("kind", ["nearest", "linear"])
def test_separable_classes_are_found_although_the_mean_is_large(kind: str) -> None:
    features, shares = clouds(300, seed=0)
    unseen, truth = clouds(150, seed=1)
    probe = nearest_neighbours(features, shares) if kind == "nearest" else fit_linear(features, shares)
    found = probe(unseen)
    assert torch.allclose(found.sum(dim=1), torch.ones(150), atol=1e-5)
    assert (found.argmax(dim=1) == truth.argmax(dim=1)).float().mean() > 0.9
    shuffled = shares[torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    lost = nearest_neighbours(features, shuffled) if kind == "nearest" else fit_linear(features, shuffled)
    assert (lost(unseen).argmax(dim=1) == truth.argmax(dim=1)).float().mean() < 0.6


def test_what_no_plane_parts_only_neighbours_find() -> None:
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (400, 2), generator=generator) * 2.0 - 1
    features = signs + 0.2 * torch.randn(400, 2, generator=generator)
    shares = torch.nn.functional.one_hot((signs.prod(dim=1) > 0).long(), 2).float()
    known, unseen = slice(300), slice(300, 400)

    def right(found: torch.Tensor) -> float:
        return float((found.argmax(dim=1) == shares[unseen].argmax(dim=1)).float().mean())

    assert right(nearest_neighbours(features[known], shares[known])(features[unseen])) > 0.95
    assert right(fit_linear(features[known], shares[known])(features[unseen])) < 0.75


def test_the_linear_map_stands_where_its_loss_is_flat() -> None:
    features, shares = clouds(60, seed=3, spread=1.0)
    found = fit_linear(features, shares, decays=(0.1,))
    known = Standard.of(features)(features)
    slope = known.T @ (found(features) - shares) / len(known) + 0.1 * found.weight
    assert slope.abs().max() < 1e-4
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    again = fit_linear(features[order], shares[order], decays=(0.1,))
    assert torch.allclose(found.weight, again.weight, atol=1e-3)


def test_shares_are_learnt_as_shares() -> None:
    features = torch.tensor([[1.0], [-1.0]]).repeat(50, 1)
    shares = torch.tensor([[0.75, 0.25], [0.1, 0.9]]).repeat(50, 1)
    for probe in (nearest_neighbours(features, shares), fit_linear(features, shares, decays=(1e-6,))):
        assert torch.allclose(probe(features[:2]), shares[:2], atol=0.02)


def test_the_penalty_is_the_one_that_predicts_what_was_held_out() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 50, generator=generator)
    shares = torch.nn.functional.one_hot(torch.randint(0, 2, (60,), generator=generator), 2).float()  # noise
    held_out = torch.arange(60) % 3 == 0
    assert fit_linear(features, shares, held_out=held_out).decay == 1.0
    clear = torch.nn.functional.one_hot((features[:, 0] > 0).long(), 2).float()
    assert fit_linear(features, clear, held_out=held_out).decay < 1.0


def test_a_channel_that_never_changes_says_nothing() -> None:
    features, shares = clouds(90, seed=0)
    wide = torch.cat([features, torch.full((90, 1), 3.7)], dim=1)
    assert torch.isfinite(fit_linear(wide, shares)(wide)).all()
    moved = wide.clone()
    moved[:, -1] += 100.0
    probe = nearest_neighbours(wide, shares)
    assert torch.equal(probe(wide), probe(moved))


def test_nothing_to_learn_from_is_refused() -> None:
    for fit in (fit_linear, nearest_neighbours):
        with pytest.raises(UsageError, match="none"):
            fit(torch.zeros(0, 3), torch.zeros(0, 2))


def test_the_threshold_gives_the_largest_dice_that_is_to_be_expected() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(4000, generator=generator) ** 6  # nearly all are small
    is_there = torch.rand(4000, generator=generator) < probabilities

    def dice(threshold: float) -> float:
        found = probabilities >= threshold
        return float(2 * (found & is_there).sum() / (found.sum() + is_there.sum()))

    best = dice_threshold(probabilities)
    assert best < 0.5
    assert dice(best) >= max(dice(step / 20) for step in range(1, 20)) - 0.02
    assert dice(best) > dice(0.5) + 0.01
    assert 2 * best == pytest.approx(dice(best), abs=0.05)


def test_where_nothing_is_known_all_is_taken() -> None:
    assert dice_threshold(torch.full((100,), 0.03)) == pytest.approx(0.03)
