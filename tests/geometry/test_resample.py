"""Resampling: equal to scipy's, independent of memory order, refusing what is not aligned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from vesalius.errors import GeometryError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import axis_maps, is_orthogonal, resample_linear, resample_points

SOURCE = Grid((14, 19, 11), np.array([[0.8, 0, 0, -5], [0, 0.7, 0, 3], [0, 0, 2.0, 8], [0, 0, 0, 1.0]]))


def image(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(0, 300, SOURCE.shape).astype(dtype)


@pytest.mark.parametrize("order", ["C", "F"])
def test_linear_resampling_equals_scipy(order: str) -> None:
    target = SOURCE.respaced((1.5, 1.0, 0.9))
    ours = resample_linear(np.asarray(image(), order=order), SOURCE, target).numpy()
    at = [m.positions.clip(0, m.length - 1) for m in axis_maps(SOURCE, target)]
    theirs = map_coordinates(image().astype(float), np.meshgrid(*at, indexing="ij"), order=1)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_values_are_cut_before_they_are_interpolated_and_the_image_stays_as_it_is(dtype: str) -> None:
    data, clip, target = image(dtype), (-163.8247, 201.3), SOURCE.respaced((1.5, 1.0, 0.9))
    before = data.copy()
    found = resample_linear(data, SOURCE, target, clip=clip)
    assert torch.equal(found, resample_linear(np.clip(before, *clip), SOURCE, target))
    assert np.array_equal(data, before)


def test_a_flipped_view_is_resampled_as_its_copy() -> None:
    data, grid = image("int16")[::-1, :, ::-1], SOURCE
    target = grid.respaced((1.0, 1.0, 1.0))
    np.testing.assert_array_equal(
        resample_linear(data, grid, target), resample_linear(np.ascontiguousarray(data), grid, target)
    )


def test_a_ramp_in_world_space_stays_that_ramp_on_any_grid() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]
    oblique = Grid((9, 9, 9), turn @ np.diag([0.5, 0.5, 0.5, 1.0]) @ Grid((1, 1, 1), np.eye(4)).affine)
    source = Grid((40, 40, 40), np.diag([0.7, 0.8, 0.9, 1.0]) + np.eye(4, k=3) * -8)
    i, j, k = np.indices(source.shape)
    world = source.to_world(np.stack([i, j, k], axis=-1))
    ramp = (world @ [2.0, -1.0, 0.5]).astype(np.float32)
    sampled = resample_points(ramp, source, oblique, outside=np.nan)
    there = oblique.to_world(np.moveaxis(np.indices(oblique.shape), 0, -1)) @ [2.0, -1.0, 0.5]
    inside = np.isfinite(sampled)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(sampled[inside], there[inside], atol=0.3)
    np.testing.assert_allclose(np.median(np.abs(sampled[inside] - there[inside])), 0, atol=1e-4)


def test_nearest_points_return_the_labels_themselves() -> None:
    labels = np.random.default_rng(1).integers(0, 200, SOURCE.shape).astype(np.uint8)
    np.testing.assert_array_equal(resample_points(labels, SOURCE, SOURCE, nearest=True), labels)


def test_points_outside_take_the_value_given() -> None:
    away = Grid((3, 3, 3), SOURCE.affine + np.array([[0, 0, 0, 1000.0], [0] * 4, [0] * 4, [0] * 4]))
    assert (resample_points(image(), SOURCE, away, outside=-1024.0) == -1024.0).all()


@pytest.mark.parametrize("nearest", [False, True])
def test_points_outside_take_the_border_s_value_where_none_is_given(nearest: bool) -> None:
    wider = SOURCE.cropped(Box((-2, 0, 0), (16, 19, 11)))
    sampled = resample_points(image(), SOURCE, wider, nearest=nearest, outside=None)
    np.testing.assert_allclose(sampled, np.pad(image(), ((2, 2), (0, 0), (0, 0)), mode="edge"), atol=1e-3)


def test_grids_at_an_angle_are_refused_with_what_to_do() -> None:
    with pytest.raises(GeometryError, match="reorient"):
        axis_maps(SOURCE, SOURCE.reoriented("LPS"))


def test_a_tilted_gantry_is_told_from_a_rotated_one() -> None:
    sheared = SOURCE.affine.copy()
    sheared[1, 2] = 0.6
    assert is_orthogonal(SOURCE)
    assert not is_orthogonal(Grid(SOURCE.shape, sheared))


@pytest.mark.parametrize("shift", [0.6, -0.6])
def test_the_upright_grid_covers_every_voxel_of_a_tilted_one(shift: float) -> None:
    sheared = SOURCE.affine.copy()
    sheared[1, 2] = shift
    tilted = Grid(SOURCE.shape, sheared)
    upright = tilted.upright()
    assert is_orthogonal(upright)
    corners = np.array([[a, b, c] for a in (0, 13) for b in (0, 18) for c in (0, 10)], dtype=float)
    inside = upright.to_voxel(tilted.to_world(corners))
    assert (inside >= -1e-6).all()
    assert (inside <= np.array(upright.shape) - 1 + 1e-6).all()
    assert upright.spacing_mm == pytest.approx((0.8, 0.7, 2.0))
