"""Boxes: half-open, and the smallest that holds a mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vesalius.geometry.boxes import Box, bounding_box

triples = st.tuples(*[st.integers(-6, 12)] * 3)
masks = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3))


@given(masks)
def test_the_bounding_box_holds_every_voxel_and_is_tight(mask: np.ndarray) -> None:
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    inside = mask[box.slices]
    assert inside.sum() == mask.sum()
    for axis in range(3):
        assert inside.take(0, axis=axis).any()
        assert inside.take(-1, axis=axis).any()


@given(triples, triples, st.integers(0, 4))
def test_growing_and_then_shrinking_is_no_change(start: tuple, stop: tuple, margin: int) -> None:
    box = Box(start, stop)
    assert box.grown(margin).grown(-margin) == box
    assert box.grown((margin, 0, 0)).shape == (box.shape[0] + 2 * margin, box.shape[1], box.shape[2])


@given(triples, triples, st.tuples(*[st.integers(1, 8)] * 3))
def test_a_clipped_box_indexes_exactly_the_voxels_both_hold(start: tuple, stop: tuple, shape: tuple) -> None:
    box = Box(start, stop)
    clipped = box.clipped(shape)
    expected = [
        index for index in np.ndindex(shape) if all(a <= x < b for x, a, b in zip(index, start, stop, strict=True))
    ]
    assert np.zeros(shape)[clipped.slices].size == len(expected)
    assert clipped.is_empty == (not expected)


def test_corners_are_voxel_centres_of_the_box() -> None:
    corners = Box((1, 2, 3), (2, 5, 9)).corners()
    assert corners.shape == (8, 3)
    assert corners.min(0).tolist() == [1, 2, 3]
    assert corners.max(0).tolist() == [1, 4, 8]


@given(triples, triples, triples)
def test_counting_from_elsewhere_and_moving_there_is_no_change(start: tuple, stop: tuple, origin: tuple) -> None:
    box = Box(start, stop)
    assert box.relative_to(origin).moved(origin) == box
    assert box.relative_to(start).start == (0, 0, 0)
    assert box.moved(origin).shape == box.shape


def test_a_box_holds_points_up_to_the_outer_faces_of_its_voxels() -> None:
    box = Box((1, 2, 3), (2, 5, 9))
    assert box.holds(np.array([0.5, 1.5, 2.5]))
    assert box.holds(np.array([1.5, 4.5, 8.5]))
    assert not box.holds(np.array([1.0, 4.6, 5.0]))
    assert not box.holds(np.array([0.4, 3.0, 5.0]))


@given(masks, st.permutations([0, 1, 2]))
def test_a_transposed_box_holds_the_same_voxels_of_the_transposed_array(mask: np.ndarray, order: list) -> None:
    box = bounding_box(mask)
    if box is not None:
        assert box.transposed(tuple(order)) == bounding_box(mask.transpose(order))
