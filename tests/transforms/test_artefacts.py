"""Artefacts: nothing where nothing is asked, what is asked where it is, and the same from the same seed."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from vesalius.errors import MissingExtraError, UsageError
from vesalius.transforms.artefacts import disturb, disturb_slices
from vesalius.transforms.augment import Augmentation

IMAGE = torch.from_numpy(np.random.default_rng(0).random((14, 12, 10), dtype=np.float32))
EVERYTHING = Augmentation(blur=1.0, contrast=1.0, field=1.0)


def disturbed(config: Augmentation, seed: int = 0) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        return disturb(IMAGE.clone(), config, np.random.default_rng(seed))


def test_nothing_is_changed_or_drawn_where_nothing_is_asked() -> None:
    rng = np.random.default_rng(0)
    assert torch.equal(disturb(IMAGE, Augmentation(), rng), IMAGE)
    assert rng.random() == np.random.default_rng(0).random()


def test_blur_is_a_gaussian_s_of_the_width_that_is_asked() -> None:
    blurred = disturbed(Augmentation(blur=1.0, blur_voxels=(0.8, 0.8)))
    wanted = ndimage.gaussian_filter(IMAGE.numpy(), 0.8, mode="constant", truncate=4)
    inner = (slice(4, -4),) * 3
    assert np.allclose(blurred.numpy()[inner], wanted[inner], atol=0.02)
    assert not np.allclose(blurred.numpy()[inner], IMAGE.numpy()[inner], atol=0.2)


def test_contrast_is_a_power_of_the_intensities_over_their_range() -> None:
    low, high = float(IMAGE.min()), float(IMAGE.max())
    wanted = ((IMAGE - low) / (high - low)) ** 1.4 * (high - low) + low
    assert torch.allclose(disturbed(Augmentation(contrast=1.0, gamma=(1.4, 1.4))), wanted, atol=1e-4)


def test_a_field_changes_places_not_values_and_stays_in_range() -> None:
    config = Augmentation(field=1.0, field_strength=0.3)
    factor = disturbed(config) / IMAGE.clamp(min=1e-3)
    middle = factor[IMAGE < 0.5]
    assert float(middle.std()) > 0.01
    assert float(disturbed(config).min()) >= 0
    assert float(disturbed(config).max()) <= 1


def test_a_seed_gives_one_window_also_in_threads() -> None:
    first, other = disturbed(EVERYTHING, 1), disturbed(EVERYTHING, 2)
    assert type(first) is Tensor
    assert first.shape == IMAGE.shape
    assert not torch.equal(first, other)
    with ThreadPoolExecutor(2) as pool:
        many = list(
            pool.map(lambda seed: disturb(IMAGE.clone(), EVERYTHING, np.random.default_rng(seed)), [1, 2] * 10)
        )
    assert all(torch.equal(window, (first, other)[n % 2]) for n, window in enumerate(many))


def test_torch_s_own_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    disturbed(EVERYTHING)
    assert torch.equal(torch.rand(1), wanted)


def test_without_monai_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.transforms", None)
    assert disturbed(Augmentation()) is not None
    with pytest.raises(MissingExtraError, match=r"vesalius\[train\]"):
        disturbed(EVERYTHING)


@pytest.mark.parametrize("wrong", [{"blur": 2.0}, {"gamma": (0.0, 1.0)}, {"blur_voxels": (2.0, 1.0)}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Augmentation(**wrong)  # type: ignore[arg-type]


SLICES = IMAGE[:, :, :4]


def slices_disturbed(config: Augmentation, image: Tensor, seed: int = 0) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return disturb_slices(image.clone(), config, np.random.default_rng(seed))


def test_slices_are_blurred_in_their_plane_alone_and_all_by_one_draw() -> None:
    config = Augmentation(blur=1.0, blur_voxels=(0.4, 1.6))
    together = slices_disturbed(config, SLICES)
    assert together.shape == SLICES.shape
    for k in range(SLICES.shape[2]):
        assert torch.allclose(
            together[:, :, k : k + 1], slices_disturbed(config, SLICES[:, :, k : k + 1]), atol=1e-6
        )
    one = slices_disturbed(Augmentation(blur=1.0, blur_voxels=(0.8, 0.8)), SLICES[:, :, :1])[:, :, 0]
    wanted = ndimage.gaussian_filter(SLICES[:, :, 0].numpy(), 0.8, mode="constant", truncate=4)
    inner = (slice(4, -4),) * 2
    assert np.allclose(one.numpy()[inner], wanted[inner], atol=0.02)


def test_the_contrast_of_slices_is_one_power_over_the_range_of_all() -> None:
    low, high = float(SLICES.min()), float(SLICES.max())
    wanted = ((SLICES - low) / (high - low)) ** 1.4 * (high - low) + low
    assert torch.allclose(slices_disturbed(Augmentation(contrast=1.0, gamma=(1.4, 1.4)), SLICES), wanted, atol=1e-4)


def test_one_slice_is_changed_as_before_there_were_several() -> None:
    """Digits of the code that knew one slice alone: runs go on with the bits that they had."""
    config = Augmentation(blur=1.0, contrast=1.0)
    found = slices_disturbed(config, SLICES[:, :, :1], seed=3)
    assert torch.equal(found, disturb(SLICES[:, :, :1].clone(), config, np.random.default_rng(3)))
    assert found[5:8, 6, 0].tolist() == pytest.approx([0.5082967, 0.4571856, 0.4534492], abs=1e-6)
