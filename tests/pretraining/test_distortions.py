"""Distortions: each does what it says, as often as it says, and nothing where it is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vesalius.errors import UsageError
from vesalius.pretraining.distortions import blurred, coarsened, distorted, drifted, with_gamma
from vesalius.pretraining.settings import Distortion

OFF = Distortion(noise=0.0, blur=0.0, brightness=0.0, low_resolution=0.0, contrast=0.0)
IMAGE = torch.randn(20, 24, generator=torch.Generator().manual_seed(1))


def test_what_is_off_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    assert torch.equal(distorted(IMAGE, OFF, rng), IMAGE)
    assert torch.equal(drifted(IMAGE, OFF, rng), IMAGE)


@pytest.mark.parametrize("name", ["noise", "blur", "brightness", "low_resolution", "contrast"])
def test_a_probability_is_how_often_something_is_done(name: str) -> None:
    rng = np.random.default_rng(2)
    settings = replace(OFF, **{name: 0.3})
    done = [not torch.equal(distorted(IMAGE, settings, rng), IMAGE) for _ in range(300)]
    assert np.mean(done) == pytest.approx(0.3, abs=0.08)


def test_noise_and_brightness_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(3)
    flat = torch.ones(64, 64)
    noisy = [distorted(flat, replace(OFF, noise=1.0, noise_strength=0.2), rng) for _ in range(50)]
    deviations = [float(image.std()) for image in noisy]
    assert max(deviations) <= 0.21
    assert np.mean(deviations) == pytest.approx(0.1, abs=0.02)
    bright = [distorted(flat, replace(OFF, brightness=1.0), rng).mean() for _ in range(50)]
    assert 0.75 <= min(bright) < 0.85
    assert 1.15 < max(bright) <= 1.25


def test_a_drift_keeps_air_near_air_and_changes_contrast() -> None:
    settings = replace(OFF, drift=1.0, drift_factor=(1.1, 1.1), drift_hu=0.0)
    image = torch.tensor([[-1000.0, 0.0, 100.0]])
    assert drifted(image, settings, np.random.default_rng(4)).tolist()[0] == pytest.approx([-1000.0, 100.0, 210.0])


def test_a_blur_keeps_the_mean_and_is_a_gaussian() -> None:
    point = torch.zeros(21, 21)
    point[10, 10] = 1.0
    spread = blurred(point, 1.0)
    y = torch.arange(21.0) - 10
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((spread.sum(dim=1) * y**2).sum()) == pytest.approx(1.0, abs=0.05)
    assert torch.allclose(spread, spread.T)
    assert torch.allclose(blurred(torch.full((9, 5), 3.0), 0.7), torch.full((9, 5), 3.0))


def test_coarser_pixels_lose_detail_and_keep_the_size() -> None:
    coarse = coarsened(IMAGE, 0.5)
    assert coarse.shape == IMAGE.shape
    assert float(coarse.diff(dim=0).square().mean()) < 0.7 * float(IMAGE.diff(dim=0).square().mean())


def test_gamma_keeps_range_and_order() -> None:
    bent = with_gamma(IMAGE, 1.5)
    assert float(bent.min()) == pytest.approx(float(IMAGE.min()), abs=1e-5)
    assert float(bent.max()) == pytest.approx(float(IMAGE.max()), abs=1e-5)
    assert torch.equal(bent.flatten().argsort(), IMAGE.flatten().argsort())
    middle = (IMAGE.min() + IMAGE.max()) / 2
    assert float(with_gamma(torch.stack([IMAGE.min(), middle, IMAGE.max()])[None], 1.5)[0, 1]) < float(middle)


@pytest.mark.parametrize("fields", [{"noise": 1.1}, {"gamma": (0.0, 1.0)}, {"coarseness": (0.5, 2.0)}])
def test_settings_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Distortion(**fields)  # type: ignore[arg-type]
