"""The grid of a SEG's frames: how far its slices are apart, and what may be taken for that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.errors import GeometryError
from vesalius.io.seg_frames import FramePlace
from vesalius.io.seg_grid import FrameStack, stack_frames


def stacked(heights: list[float], *, step: float | None = None, thickness: float | None = None) -> FrameStack:
    axes = np.array([1.0, 0, 0, 0, 1, 0])
    places = [FramePlace(1, np.array([0.0, 0, z]), axes, (1.0, 1.0), step, thickness) for z in heights]
    return stack_frames(places, (4, 3), Path("a.dcm"))


def test_thin_slices_far_apart_are_not_put_on_slices_of_their_thickness() -> None:
    stack = stacked([0, 10, 20, 70], thickness=1.25)
    assert stack.grid.shape == (4, 3, 8)
    assert stack.grid.spacing_mm == pytest.approx((1, 1, 10))
    assert stack.slices == (0, 1, 2, 7)


def test_stated_distance_keeps_the_slices_that_were_left_out() -> None:
    assert stacked([0, 10, 20], step=5.0, thickness=1.25).slices == (0, 2, 4)


def test_single_slice_is_as_high_as_the_distance_else_the_thickness_says() -> None:
    assert stacked([3], step=5.0, thickness=1.25).grid.spacing_mm[2] == pytest.approx(5)
    assert stacked([3], thickness=1.25).grid.spacing_mm[2] == pytest.approx(1.25)
    with pytest.raises(GeometryError, match="without thickness"):
        stacked([3])
