"""Degradation: each change does what it says, as often as it says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesalius.transforms.augment import Augmentation
from vesalius.transforms.degradation import coarsened, degrade

NOTHING = {"low_resolution": 0.0, "noise": 0.0, "drift": 0.0}


def window() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 200, (24, 20, 28)).astype(np.float32))


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    assert torch.equal(degrade(window(), Augmentation(**NOTHING), np.random.default_rng(0)), window())


def test_the_scale_drifts_about_minus_a_thousand() -> None:
    config = Augmentation(**{**NOTHING, "drift": 1.0})
    rng = np.random.default_rng(1)
    factors, shifts = [], []
    for _ in range(200):
        changed = degrade(torch.tensor([[[-1000.0, 0.0]]]), config, rng)[0, 0]
        shifts.append(float(changed[0]) + 1000)
        factors.append(float(changed[1] - changed[0]) / 1000)
    assert 0.95 - 1e-4 <= min(factors) < 0.96
    assert 1.04 < max(factors) <= 1.05 + 1e-4
    assert np.std(shifts) == pytest.approx(12.0, rel=0.2)


def test_noise_has_no_mean_and_at_most_its_strength() -> None:
    config = Augmentation(**{**NOTHING, "noise": 1.0})
    rng = np.random.default_rng(2)
    added = [degrade(window(), config, rng) - window() for _ in range(40)]
    strengths = [float(noise.std()) for noise in added]
    assert max(strengths) < 30 * 1.05
    assert max(strengths) > 20
    assert abs(np.mean([float(noise.mean()) for noise in added])) < 1
    neighbours = [float((noise[1:] * noise[:-1]).mean() / noise.var()) for noise in added]
    assert min(neighbours) < 0.1 < 0.5 < max(neighbours)  # some independent, some smooth


def test_coarse_voxels_blur_only_their_own_axis() -> None:
    image = window()
    coarse = coarsened(image, np.array([1.0, 2.0, 1.0]))
    assert coarse.shape == image.shape
    assert float(coarse.diff(dim=1).square().mean()) < 0.3 * float(image.diff(dim=1).square().mean())
    flat = image[:, :1].expand(-1, 20, -1)
    assert torch.allclose(coarsened(flat, np.array([1.0, 2.0, 1.0])), flat, atol=1e-3)


def test_changes_come_as_often_as_asked_for() -> None:
    rng = np.random.default_rng(3)
    image = window()
    config = Augmentation(low_resolution=0.0, noise=0.25, drift=0.0)
    changed = sum(not torch.equal(degrade(image, config, rng), image) for _ in range(400))
    assert 70 < changed < 130
