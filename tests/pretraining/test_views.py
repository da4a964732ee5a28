"""Views: sizes, areas and places of crops; what is shared by views, what is drawn, what a Gram teacher sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretraining.small_store import TINY, body, recipe
from vesalius.pretraining.recipes import spec_of
from vesalius.pretraining.settings import Cropping, Distortion, Masking, Resolution
from vesalius.pretraining.views import (
    Crop,
    Views,
    ViewSettings,
    body_box,
    draw_crop,
    draw_views,
    normalised,
    resized,
    undistorted_view,
)

SPEC = spec_of(recipe(), "tiny")
SLICES = [torch.from_numpy(body(seed, (40 + seed, 52)).astype(np.float32)) for seed in range(3)]
OFF = Distortion(noise=0.0, blur=0.0, brightness=0.0, low_resolution=0.0, contrast=0.0)
SETTINGS = ViewSettings(
    cropping=Cropping(local_views=3), distortion=Distortion(), masking=Masking(), patch_size=TINY.patch_size
)
SIZES = Resolution(global_size=32, local_size=16)


def drawn(seed: int = 0, sizes: Resolution = SIZES, **changes: object) -> Views:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return draw_views(SLICES, SPEC, sizes, settings, np.random.default_rng(seed))


def test_views_of_one_size_are_one_array() -> None:
    views = drawn()
    assert views.global_views.shape == (2, 3, 1, 32, 32)
    assert views.local_views.shape == (3, 3, 1, 16, 16)
    assert views.is_masked.shape == (6, 16)
    assert views.gram_views is None
    assert drawn(cropping=Cropping(local_views=0)).local_views.shape == (0, 3, 1, 16, 16)


def test_a_view_whose_side_is_no_multiple_of_the_patch_is_masked_as_the_network_fills_it_up() -> None:
    assert drawn(sizes=replace(SIZES, global_size=30)).is_masked.shape == (6, 16)


def test_the_same_seed_draws_the_same_and_another_not() -> None:
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(first.global_views, again.global_views)
    assert torch.equal(first.is_masked, again.is_masked)
    assert first.seed == again.seed != other.seed
    assert not torch.equal(first.global_views, other.global_views)
    assert not torch.equal(first.global_views[0], first.global_views[1])


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 500))
def test_a_crop_lies_in_its_box_and_has_its_area_where_that_fits(height: int, width: int, seed: int) -> None:
    box = Crop(5, 7, height, width)
    crop = draw_crop(box, (0.3, 0.6), Cropping(), np.random.default_rng(seed))
    assert box.top <= crop.top <= crop.top + crop.height <= box.top + height
    assert box.left <= crop.left <= crop.left + crop.width <= box.left + width
    part = crop.height * crop.width / (height * width)
    assert part <= 0.6 + 2 / min(height, width)
    if max(height, width) <= min(height, width) * 1.3:
        assert part >= 0.3 - 2 / min(height, width)


def test_a_mirrored_crop_is_mirrored_from_left_to_right() -> None:
    image = SLICES[0]
    plain, mirrored = (resized(image, Crop(3, 4, 20, 24, flip), 16) for flip in (False, True))
    assert torch.equal(mirrored, plain.flip(1))


def test_a_crop_shows_what_lies_there() -> None:
    image = torch.zeros(40, 40)
    image[10:20, 24:34] = 1.0
    assert float(resized(image, Crop(10, 24, 10, 10), 8).mean()) == pytest.approx(1.0, abs=1e-4)
    assert float(resized(image, Crop(24, 10, 10, 10), 8).abs().max()) < 1e-4


def test_a_box_is_around_the_body_and_the_whole_slice_where_there_is_none() -> None:
    slice_hu = torch.full((30, 40), -1000.0)
    assert body_box(slice_hu) == Crop(0, 0, 30, 40)
    slice_hu[4:20, 7:31] = 50.0
    assert body_box(slice_hu) == Crop(4, 7, 16, 24)


def test_views_within_the_body_hold_less_air() -> None:
    def air(is_within: bool) -> float:
        cropping = Cropping(local_views=3, within_body=is_within)
        views = [drawn(seed, cropping=cropping, distortion=OFF).global_views for seed in range(5)]
        return float((torch.stack(views) < -4).float().mean())

    assert air(is_within=True) < 0.7 * air(is_within=False)


def test_without_distortion_views_are_the_normalised_slice() -> None:
    whole = Cropping(local_views=0, global_area=(1.0, 1.0), narrowest=1.0, flip=0.0)
    slices = [one[:40, :40] for one in SLICES]
    settings = replace(SETTINGS, cropping=whole, distortion=OFF)
    views = draw_views(slices, SPEC, replace(SIZES, global_size=40), settings, np.random.default_rng(0))
    for number, one in enumerate(slices):
        assert torch.allclose(views.global_views[0, number, 0], normalised(one, SPEC), atol=1e-4)
    assert torch.allclose(undistorted_view(slices[0], SPEC, size=40)[0], normalised(slices[0], SPEC), atol=1e-4)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_network_that_sees_each_slice_by_its_own_moments_sees_a_tissue_alike_in_all_views(
    is_shared: bool,
) -> None:
    spec = replace(SPEC, normalisation="slice")
    slice_hu = torch.full((40, 52), -1000.0)
    slice_hu[4:30, 8:44] = 40.0
    settings = replace(SETTINGS, distortion=replace(OFF, shared=is_shared), wants_gram=True)
    views = draw_views([slice_hu] * 3, spec, SIZES, settings, np.random.default_rng(0))
    assert views.gram_views is not None
    tissue = float(normalised(slice_hu, spec).max())
    for some in (
        views.global_views,
        views.gram_views,
        views.local_views,
        undistorted_view(slice_hu, spec, size=16),
    ):
        for view in some.reshape(-1, *some.shape[-2:]):
            assert min(abs(float(value) - tissue) for value in view.quantile(torch.tensor([0.5, 0.9]))) < 0.05


def test_a_shared_distortion_is_one_for_all_views_and_another_for_each_is_not() -> None:
    loud = replace(OFF, brightness=1.0, brightness_change=0.5)
    whole = Cropping(local_views=0, global_area=(1.0, 1.0), narrowest=1.0, flip=0.0)
    slices = [one[:40, :40] for one in SLICES]
    for is_shared in (True, False):
        settings = replace(SETTINGS, cropping=whole, distortion=replace(loud, shared=is_shared))
        views = draw_views(slices, SPEC, SIZES, settings, np.random.default_rng(3)).global_views
        assert torch.equal(views[0], views[1]) == is_shared


def test_a_gram_teacher_sees_the_same_crops_undistorted_at_its_own_size() -> None:
    loud = replace(OFF, noise=1.0, noise_strength=0.5)
    sizes = replace(SIZES, gram_size=64)
    views = drawn(4, sizes, wants_gram=True, distortion=loud)
    assert views.gram_views is not None
    assert views.gram_views.shape == (2, 3, 1, 64, 64)
    clean = drawn(4, sizes, wants_gram=True, distortion=replace(loud, noise_strength=0.0))
    assert torch.equal(views.gram_views, clean.gram_views)  # type: ignore[arg-type]
    smaller = torch.nn.functional.avg_pool2d(views.gram_views.flatten(0, 1), 2)
    likeness = torch.corrcoef(torch.stack([smaller.flatten(), clean.global_views.flatten()]))[0, 1]
    assert float(likeness) > 0.95
