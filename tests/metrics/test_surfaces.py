"""Surface distances against cubes worked out by hand, MONAI's metrics, and brute force over all pairs of voxels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from vesalius.metrics.surfaces import SurfaceDistances, surface_distances

SPACING = (0.7, 1.5, 3.0)
masks = arrays(bool, (4, 5, 6))


def blob(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(20, 24, 14))
    return ndimage.gaussian_filter(noise, 2.5) > 0.02


def test_a_cube_shifted_along_the_coarse_axis() -> None:
    found, truth = np.zeros((2, 9, 9, 9), bool)
    found[2:5, 2:5, 2:5] = True
    truth[2:5, 2:5, 3:6] = True
    # 26 of 27 voxels of a cube are surface. Nine of the found ones (k = 2) lie a step of 3 mm before the other
    # surface; the middle of the face k = 4 lies where the other cube is not surface, 0.7 mm from its side.
    seen = surface_distances(found, truth, SPACING)
    assert sorted(seen.from_found_mm.tolist()) == pytest.approx([0.0] * 16 + [0.7] + [3.0] * 9)
    assert seen.nsd(0.0) == pytest.approx(16 / 26)
    assert seen.nsd(0.71) == pytest.approx(17 / 26)
    assert seen.nsd(2.9) == pytest.approx(17 / 26)
    assert seen.nsd(3.0) == 1
    assert seen.hd95_mm == pytest.approx(3.0)


@pytest.mark.parametrize("axis", range(3))
def test_a_distance_that_is_the_tolerance_lies_within_it_along_every_axis(axis: int) -> None:
    found = np.zeros((20, 20, 20), bool)
    found[2:8, 2:8, 2:8] = True
    assert surface_distances(found, np.roll(found, 10, axis), (0.2, 0.2, 0.2)).nsd(2.0) == 1


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's, of itself
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance_mm", [0.0, 1.0, 2.0])
def test_both_numbers_are_monai_s(seed: int, tolerance_mm: float) -> None:
    found, truth = blob(seed), blob(seed + 10)
    seen = surface_distances(found, truth, SPACING)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (found, truth)]
    theirs = compute_surface_dice(*pair, [tolerance_mm], include_background=True, spacing=SPACING)
    assert seen.nsd(tolerance_mm) == pytest.approx(float(theirs), abs=1e-6)
    theirs = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING)
    assert seen.hd95_mm == pytest.approx(float(theirs), rel=1e-5)


@given(masks, masks)
@settings(max_examples=60)
def test_distances_are_those_of_all_pairs(found: np.ndarray, truth: np.ndarray) -> None:
    seen = surface_distances(found, truth, SPACING)
    surfaces = [
        np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=0)) * SPACING for mask in (found, truth)
    ]
    between = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=-1)
    assert np.allclose(seen.from_found_mm, between.min(axis=1, initial=np.inf), rtol=1e-5)
    assert np.allclose(seen.from_truth_mm, between.min(axis=0, initial=np.inf), rtol=1e-5)


def test_the_edge_of_the_array_is_a_surface() -> None:
    everything = np.ones((3, 3, 3), bool)
    assert surface_distances(everything, everything, SPACING).from_found_mm.size == 26


def test_empty_masks() -> None:
    nothing, one = np.zeros((2, 3, 3, 3), bool)
    one[1, 1, 1] = True
    both = surface_distances(nothing, nothing, SPACING)
    assert (both.nsd(1.0), both.hd95_mm) == (1.0, 0.0)
    for found, truth in ((one, nothing), (nothing, one)):
        seen = surface_distances(found, truth, SPACING)
        assert (seen.nsd(1.0), seen.hd95_mm) == (0.0, math.inf)


def test_an_outlier_below_five_percent_does_not_move_hd95() -> None:
    near = np.zeros(96, np.float32)
    seen = SurfaceDistances(np.concatenate([near, np.full(4, 50, np.float32)]), near)
    assert seen.hd95_mm == 0
    assert SurfaceDistances(near, np.concatenate([near[:90], np.full(6, 50, np.float32)])).hd95_mm == 50
