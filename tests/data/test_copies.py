"""Copies are known by their voxels, whatever file and order they come in; different people are not copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.small_set import make_case
from vesalius.data.copies import ALIKE, copies, repeated_slices, thumbnail, traces_of, voxel_hash
from vesalius.data.datalists.record import ListedCase
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_linear
from vesalius.geometry.volume import LabelMap, Volume

GRID = Grid((24, 20, 18), np.diag([4.0, 4.0, 5.0, 1.0]))


def test_the_hash_knows_values_and_shape_not_number_types() -> None:
    data = make_case()[0]
    assert voxel_hash(data) == voxel_hash(data.astype(np.float64)) == voxel_hash(np.asfortranarray(data))
    changed = data.copy()
    changed[3, 4, 5] += 1
    assert voxel_hash(changed) != voxel_hash(data)
    assert voxel_hash(data.reshape(20, 24, 18)) != voxel_hash(data)


def traces(name: str, data: np.ndarray, labels: np.ndarray | None, codes: str = "RAS"):
    case = ListedCase(name=name, image=Path(name))
    drawn = None if labels is None else LabelMap(labels, GRID, {}).reoriented(codes)
    return traces_of(case, Volume(data[None], GRID).reoriented(codes), drawn)


def test_a_copy_in_another_axis_order_is_the_same_image() -> None:
    image, labels = make_case()
    pairs = list(copies([traces("a", image, labels), traces("b", image, None, "PSL")]))
    assert [(one.name, other.name, why) for one, other, why in pairs] == [("b", "a", "image")]


def test_labels_copied_to_another_image_are_noticed_and_empty_ones_are_not() -> None:
    (one, labels), (other, _) = make_case(0), make_case(2)
    pairs = [why for *_, why in copies([traces("a", one, labels), traces("b", other, labels)])]
    assert pairs == ["label"]
    empty = np.zeros_like(labels)
    assert list(copies([traces("a", one, empty), traces("b", other, empty)])) == []


def test_a_resampled_copy_looks_the_same_and_another_body_does_not() -> None:
    image = make_case(0)[0]
    respaced = resample_linear(image, GRID, GRID.respaced((3.0, 3.0, 3.0))).numpy()
    assert float(thumbnail(image) @ thumbnail(respaced)) > ALIKE
    assert float(thumbnail(image) @ thumbnail(make_case(1)[0])) < ALIKE


def test_thin_and_constant_volumes_have_no_picture() -> None:
    assert thumbnail(np.ones((20, 20, 20))) is None
    assert thumbnail(np.random.default_rng(0).random((20, 20, 3))) is None


@pytest.mark.parametrize("axis", [0, 2])
def test_repeated_slices_are_counted_across_the_thickest_side(axis: int) -> None:
    rng = np.random.default_rng(0)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    data = np.repeat(rng.random((6, 5, 6)), 2, axis=axis)
    assert repeated_slices(data, spacing) == pytest.approx(6 / 11)
    assert repeated_slices(rng.random((8, 8, 8)), spacing) == 0
    assert repeated_slices(np.zeros((8, 8, 8)), spacing) == 0  # air is no repetition
