"""Slices that a DICOM SEG leaves out: put back where its slices are the image's, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.errors import MemoryBudgetError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.seg_slices import with_empty_slices
from vesalius.io.source import FileSource

GRID = Grid((4, 3, 9), np.array([[-0.8, 0, 0.4, 7], [0, -2, 0, 5], [0.4, 0, 0.8, -9], [0, 0, 0, 1.0]]))


def slices(start: int, stop: int, *, grid: Grid = GRID, left_out: bool = True) -> LabelMap:
    """Labels of some slices, each with the number of its slice."""
    part = grid.cropped(Box((0, 0, start), (4, 3, stop)))
    data = np.broadcast_to(np.arange(start, stop, dtype=np.uint8), part.shape)
    source = FileSource(path=Path("a.seg.dcm"), grid=part, leaves_out_empty_slices=left_out)
    return LabelMap(data, part, {3: "liver"}, {"overlap 1": data + 100}, source)


@pytest.mark.parametrize("codes", ["LPS", "SLA", "PRI"])  # however the image's axes are turned
def test_slices_come_to_their_place_in_the_image(codes: str) -> None:
    whole = with_empty_slices(slices(3, 6), GRID.reoriented(codes))
    assert whole.grid.is_close(GRID)
    assert whole.data[1, 1].tolist() == [0, 0, 0, 3, 4, 5, 0, 0, 0]
    assert whole.overlaps["overlap 1"][1, 1].tolist() == [0, 0, 0, 103, 104, 105, 0, 0, 0]
    assert whole.names == {3: "liver"}


def test_a_single_slice_is_as_high_as_the_image_s() -> None:
    nominal = Grid(GRID.shape, GRID.affine @ np.diag([1, 1, 1.25, 1]))
    only = slices(0, 1, grid=nominal)
    assert with_empty_slices(only, GRID).grid.is_close(GRID)


def test_two_that_leave_out_other_slices_meet_on_all_of_them() -> None:
    one = with_empty_slices(slices(2, 4), slices(5, 7).grid)
    other = with_empty_slices(slices(5, 7), one.grid)
    assert one.grid.is_close(other.grid)
    assert (one.data[0, 0].tolist(), other.data[0, 0].tolist()) == ([2, 3, 0, 0, 0], [0, 0, 0, 5, 6])


@pytest.mark.parametrize(
    "affine",
    [
        GRID.affine @ np.diag([1, 1, 2, 1]),
        GRID.affine + np.array([[0, 0, 0, 0.1], [0] * 4, [0] * 4, [0] * 4]),
        GRID.affine[:, [1, 0, 2, 3]],
    ],
)
def test_other_slices_are_handed_back(affine: np.ndarray) -> None:
    labels = slices(3, 6, grid=Grid(GRID.shape, affine))
    assert with_empty_slices(labels, GRID) is labels


def test_other_formats_say_nothing_of_slices_they_do_not_hold() -> None:
    labels = slices(3, 6, left_out=False)
    assert with_empty_slices(labels, GRID) is labels


def test_slices_far_away_take_no_memory() -> None:
    with pytest.raises(MemoryBudgetError):
        with_empty_slices(slices(0, 1), GRID.cropped(Box((0, 0, 1 << 40), (4, 3, (1 << 40) + 9))))
