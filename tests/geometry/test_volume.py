"""Volumes and label maps: data fit their grid, and reorienting moves data and grid together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import GeometryError, UnknownClassError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume

GRID = Grid((3, 4, 5), np.array([[0, 0, -2.0, 7], [1.5, 0.1, 0, 8], [0, 3.0, 0, 9], [0, 0, 0, 1]]))
targets = st.sampled_from(["RAS", "LPS", "SAR", "IPL", "ALI", "PRS"])


def test_data_of_another_shape_than_the_grid_are_refused() -> None:
    with pytest.raises(GeometryError):
        Volume(np.zeros((1, 3, 4, 4)), GRID)
    with pytest.raises(GeometryError):
        LabelMap(np.zeros((5, 4, 3), np.uint8), GRID, {})


@given(targets)
def test_a_voxel_keeps_its_value_and_its_place(target: str) -> None:
    volume = Volume(np.arange(120).reshape(2, 3, 4, 5), GRID, "CT", "from here")
    moved = volume.reoriented(target)
    assert moved.grid.axis_codes == target
    for index in np.ndindex(moved.grid.shape):
        before = GRID.to_voxel(moved.grid.to_world(np.array(index, dtype=float)))
        i, j, k = np.round(before).astype(int)
        assert (moved.data[(slice(None), *index)] == volume.data[:, i, j, k]).all()
    assert np.shares_memory(moved.data, volume.data)
    assert (moved.modality, moved.source) == ("CT", "from here")


@given(targets)
def test_overlaps_turn_with_the_labels(target: str) -> None:
    base = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    labels = LabelMap(base, GRID, {1: "one"}, {"inside": base + 100})
    moved = labels.reoriented(target)
    assert (moved.overlaps["inside"] == moved.data + 100).all()


def test_a_mask_gathers_a_structure_from_every_layer() -> None:
    base, inside = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8)
    base[0, 0, 0], inside[1, 1, 1] = 2, 2
    labels = LabelMap(base, GRID, {2: "tumour", 1: "liver"}, {"inside": inside})
    assert np.argwhere(labels.mask("tumour")).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert list(labels.names) == [1, 2]
    with pytest.raises(UnknownClassError, match="livre"):
        labels.mask("livre")


def test_names_cannot_be_changed_afterwards() -> None:
    names = {1: "liver"}
    labels = LabelMap(np.zeros((3, 4, 5), np.uint8), GRID, names)
    names[2] = "spleen"
    assert dict(labels.names) == {1: "liver"}
    with pytest.raises(TypeError):
        labels.names[3] = "kidney"  # type: ignore[index]
