"""Prompts: one place per click, in the world or in voxels, and inside the volume."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import GeometryError, InputError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.prompts import MaskPrompt, PointPrompt

GRID = Grid((4, 6, 9), np.array([[0, -2.0, 0, 10], [3.0, 0, 0, -5], [0, 0, 1.5, 7], [0, 0, 0, 1]]))
voxels = st.tuples(*[st.floats(-0.5, side - 0.5, allow_nan=False) for side in GRID.shape])


@given(voxels)
def test_a_voxel_and_its_place_in_the_world_are_the_same_click(voxel: tuple[float, float, float]) -> None:
    ras_mm = tuple(GRID.to_world(np.array(voxel)).tolist())
    there = PointPrompt(target="liver", ras_mm=ras_mm).point_ijk(GRID)
    np.testing.assert_allclose(there, PointPrompt(target="liver", voxel=voxel).point_ijk(GRID), atol=1e-9)


def test_the_first_voxel_of_every_axis_can_be_clicked() -> None:
    assert PointPrompt(target="liver", voxel=(0.0, 0.0, 0.0)).point_ijk(GRID) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("voxel", [(-0.6, 0.0, 0.0), (0.0, 5.6, 0.0), (0.0, 0.0, 8.6)])
def test_a_click_outside_the_volume_is_refused_and_named(voxel: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match=r"4 x 6 x 9 voxels"):
        PointPrompt(target="liver", voxel=voxel).point_ijk(GRID)
    ras_mm = tuple(GRID.to_world(np.array(voxel)).tolist())
    with pytest.raises(UsageError, match=r"RAS .* mm, which is voxel"):
        PointPrompt(target="liver", ras_mm=ras_mm).point_ijk(GRID)


@pytest.mark.parametrize(
    "places",
    [{}, {"ras_mm": (0.0, 0.0, 0.0), "voxel": (0.0, 0.0, 0.0)}, {"voxel": (0.0, math.nan, 0.0)}],
)
def test_a_click_without_one_sound_place_is_refused(places: dict[str, tuple]) -> None:
    with pytest.raises(UsageError):
        PointPrompt(target="liver", **places)


@pytest.mark.parametrize("target", ["\ud83d", "new:\udcff"])
def test_a_target_that_no_file_can_hold_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="can be written"):
        PointPrompt(target=target, voxel=(0.0, 0.0, 0.0))
    with pytest.raises(UsageError, match="can be written"):
        MaskPrompt(target=target, mask=np.zeros(GRID.shape, dtype=bool), grid=GRID)


def test_equal_clicks_are_equal() -> None:
    place = (1.0, 2.0, 3.0)
    assert PointPrompt(target="liver", voxel=place) == PointPrompt(target="liver", voxel=place)
    assert PointPrompt(target="liver", voxel=place) != PointPrompt(target="liver", ras_mm=place)


def test_a_mask_on_another_grid_is_refused() -> None:
    with pytest.raises(GeometryError):
        MaskPrompt(target="liver", mask=np.zeros((4, 6, 8), dtype=bool), grid=GRID)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_mask_that_is_not_bool_is_refused(kind: type) -> None:
    with pytest.raises(InputError, match="bool"):
        MaskPrompt(target="liver", mask=np.zeros(GRID.shape, dtype=kind), grid=GRID)


def test_a_mask_prompt_does_not_change_with_the_array_it_was_made_of() -> None:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[1, 2, 3] = True
    prompt = MaskPrompt(target="liver", mask=mask, grid=GRID)
    mask[:] = False
    assert np.argwhere(prompt.mask).tolist() == [[1, 2, 3]]
