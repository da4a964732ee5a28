"""Reading listed cases: masks become layers, labels come onto their image's voxels or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.data.datalists.record import ListedCase
from vesalius.data.reading import on_grid_of, read_drawn, read_image
from vesalius.errors import GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write

GRID = Grid((6, 5, 4), np.diag([2.0, 2.0, 3.0, 1.0]))


def mask(path: Path, start: int, stop: int, grid: Grid = GRID) -> Path:
    data = np.zeros(grid.shape, np.uint8)
    data[start:stop] = 1
    write(LabelMap(data, grid, {1: "it"}), path)
    return path


def test_masks_that_overlap_become_layers_and_lose_nothing(tmp_path: Path) -> None:
    masks = {1: mask(tmp_path / "tumour.nii", 1, 2), 2: mask(tmp_path / "liver.nii", 0, 4)}
    masks |= {3: mask(tmp_path / "absent.nii", 0, 0), 4: mask(tmp_path / "spleen.nii", 4, 5)}
    labels = read_drawn(ListedCase(name="a", image=tmp_path / "a.nii", masks=masks))
    assert labels.data[:, 0, 0].tolist() == [0, 1, 0, 0, 4, 0]
    (over,) = labels.overlaps.values()
    assert over[:, 0, 0].tolist() == [2, 2, 2, 2, 0, 0]


def test_masks_on_different_grids_are_refused(tmp_path: Path) -> None:
    other = Grid((6, 5, 5), GRID.affine)
    masks = {1: mask(tmp_path / "a.nii", 1, 2), 2: mask(tmp_path / "b.nii", 1, 2, other)}
    with pytest.raises(GeometryError, match=r"b\.nii"):
        read_drawn(ListedCase(name="a", image=tmp_path / "a.nii", masks=masks))


def test_masks_in_another_axis_order_than_the_first_are_turned(tmp_path: Path) -> None:
    masks = {1: mask(tmp_path / "a.nii", 0, 2), 2: tmp_path / "b.nii"}
    data = np.zeros(GRID.shape, np.uint8)
    data[3:, :2, 1:] = 1
    write(LabelMap(data, GRID, {1: "it"}).reoriented("PSL"), masks[2])
    labels = read_drawn(ListedCase(name="a", image=tmp_path / "a.nii", masks=masks))
    assert np.array_equal(labels.data == 2, data > 0)


def test_nothing_drawn_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label for a"):
        read_drawn(ListedCase(name="a", image=tmp_path / "a.nii"))


def test_the_list_says_the_modality_where_the_file_does_not(tmp_path: Path) -> None:
    write(Volume(np.zeros((1, 6, 5, 4), np.int16), GRID, "unknown"), tmp_path / "a.nii")
    assert read_image(ListedCase(name="a", image=tmp_path / "a.nii"), "MR").modality == "MR"


def test_labels_in_another_axis_order_come_onto_the_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = LabelMap(rng.integers(0, 3, GRID.shape).astype(np.uint8), GRID, {1: "a", 2: "b"})
    image = Volume(np.zeros((1, *GRID.shape), np.int16), GRID)
    moved = on_grid_of(image, labels.reoriented("PSL"))
    assert np.array_equal(moved.data, labels.data)
    assert moved.grid is image.grid


@pytest.mark.parametrize("shift_mm", [0.05, 3.0])
def test_labels_beside_the_image_are_refused_rounding_is_not(shift_mm: float) -> None:
    affine = GRID.affine.copy()
    affine[0, 3] += shift_mm
    labels = LabelMap(np.zeros(GRID.shape, np.uint8), Grid(GRID.shape, affine), {})
    image = Volume(np.zeros((1, *GRID.shape), np.int16), GRID)
    if shift_mm < 1:
        assert on_grid_of(image, labels).grid is image.grid
    else:
        with pytest.raises(GeometryError, match="3 mm away"):
            on_grid_of(image, labels)
