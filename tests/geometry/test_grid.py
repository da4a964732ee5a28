"""Grids: world and voxel, reorienting, cropping and respacing never move a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vesalius.errors import GeometryError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid


def make_grid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    degrees: tuple[float, float, float],
    origin: tuple[float, float, float],
    mirrored: bool,
) -> Grid:
    """Any rotated, anisotropic, left- or right-handed grid."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 0] *= -1.0 if mirrored else 1.0
    affine[:3, 3] = origin
    return Grid(shape, affine)


triples = st.tuples(*[st.integers(1, 9)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
grids = st.builds(
    make_grid,
    triples,
    spacings,
    st.tuples(*[st.floats(-180.0, 180.0)] * 3),
    st.tuples(*[st.floats(-900.0, 900.0)] * 3),
    st.booleans(),
)
codes = st.sampled_from(
    ["RAS", "LPS", "LPI", "ASR", "SRA", "IRP", "PIL", "SAR", "RSA", "AIL", "LAS", "RPI", "SLP", "IAL"]
)


def every_voxel(grid: Grid) -> np.ndarray:
    """Indices of all voxels, (n, 3)."""
    return np.stack(np.unravel_index(np.arange(grid.num_voxels), grid.shape), -1).astype(np.float64)


@given(grids, st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_world_and_back_is_the_same_voxel(grid: Grid, points: list[tuple[float, float, float]]) -> None:
    points_ijk = np.array(points)
    assert np.allclose(grid.to_voxel(grid.to_world(points_ijk)), points_ijk, atol=1e-7)


@given(grids, codes)
def test_reorienting_moves_no_voxel_and_points_the_axes(grid: Grid, target: str) -> None:
    moved = grid.reoriented(target)
    assert moved.axis_codes == target
    assert sorted(moved.shape) == sorted(grid.shape)
    seen_from_before = grid.to_voxel(moved.to_world(every_voxel(moved)))
    indices = np.round(seen_from_before).astype(int)
    assert np.abs(seen_from_before - indices).max() < 1e-6
    assert sorted(np.ravel_multi_index(indices.T, grid.shape)) == list(range(grid.num_voxels))


@given(grids, codes)
def test_reorienting_there_and_back_is_the_same_grid(grid: Grid, target: str) -> None:
    back = grid.reoriented(target).reoriented(grid.axis_codes)
    assert back.is_close(grid, tolerance_voxels=1e-6)


@given(grids, triples, triples)
def test_a_crop_keeps_every_voxel_where_it_was(
    grid: Grid, start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    begin = tuple(a - 4 for a in start)
    box = Box((begin[0], begin[1], begin[2]), (begin[0] + size[0], begin[1] + size[1], begin[2] + size[2]))
    crop = grid.cropped(box)
    assert crop.shape == box.shape
    assert np.allclose(crop.to_world(np.zeros(3)), grid.to_world(np.array(begin, dtype=float)), atol=1e-7)
    assert np.allclose(crop.affine[:3, :3], grid.affine[:3, :3])


@settings(max_examples=60)
@given(grids, spacings)
def test_respacing_keeps_centre_and_axes_and_covers_the_same_extent(
    grid: Grid, spacing: tuple[float, float, float]
) -> None:
    finer = grid.respaced(spacing)
    assert np.allclose(finer.spacing_mm, spacing)
    assert np.allclose(
        finer.to_world((np.array(finer.shape) - 1) / 2), grid.to_world((np.array(grid.shape) - 1) / 2), atol=1e-6
    )
    old, new = np.array(grid.shape) * grid.spacing_mm, np.array(finer.shape) * finer.spacing_mm
    is_one_voxel = np.array(finer.shape) == 1  # there is no thinner grid than one voxel
    assert ((np.abs(old - new) <= np.array(spacing) / 2 + 1e-6) | is_one_voxel).all()


def test_to_the_same_spacing_is_the_same_grid() -> None:
    grid = make_grid((5, 6, 7), (0.7, 0.8, 2.5), (10.0, 20.0, 30.0), (1.0, 2.0, 3.0), False)
    assert grid.respaced(grid.spacing_mm).is_close(grid, tolerance_voxels=1e-9)


def test_closeness_is_judged_in_voxels_at_the_far_corner() -> None:
    grid = Grid((100, 10, 10), np.diag([1.0, 1.0, 5.0, 1.0]))
    stretched = Grid((100, 10, 10), np.diag([1.0001, 1.0, 5.0, 1.0]))
    assert not grid.is_close(stretched)
    assert grid.is_close(stretched, tolerance_voxels=0.02)
    assert not grid.is_close(Grid((100, 10, 9), grid.affine))


def test_a_grid_cannot_be_changed_behind_its_back() -> None:
    grid = Grid((2, 3, 4), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 5.0


@pytest.mark.parametrize("shape", [(2, 3, 0), (-1, 3, 4)])
def test_a_shape_without_voxels_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError):
        Grid(shape, np.eye(4))


def test_a_voxel_of_a_sheared_grid_has_the_volume_of_its_parallelepiped() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[1, 2] = 1.5
    assert Grid((1, 1, 1), affine).voxel_volume_ml == pytest.approx(0.024)


def test_an_axis_without_a_wanted_spacing_keeps_its_voxels() -> None:
    grid = Grid((10, 12, 7), np.diag([4.0, 4.0, 2.5, 1.0]))
    finer = grid.respaced((2.0, 1.0, 0.0))
    assert finer.shape == (20, 48, 7)
    assert finer.spacing_mm == pytest.approx((2.0, 1.0, 2.5))
    slices = np.array([[0.0, 0.0, k] for k in range(7)])
    assert np.array_equal(finer.to_world(slices)[:, 2], grid.to_world(slices)[:, 2])
