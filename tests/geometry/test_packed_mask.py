"""Packed masks: the same voxels in any box, and little memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.geometry.boxes import Box, enclosing_box, shared_box
from vesalius.geometry.packed_mask import PackedMask

SHAPE = (5, 7, 4)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    origin=st.tuples(*[st.integers(0, 9)] * 3),
    start=st.tuples(*[st.integers(-3, 12)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_a_mask_is_the_same_in_whatever_box(seed, share, origin, start, size) -> None:
    mask = np.random.default_rng(seed).random(SHAPE) < share
    packed = PackedMask.of(mask, origin)
    room = np.zeros((40, 40, 40), dtype=bool)  # voxel n of the array that is meant lies at n + 10
    room[Box(origin, tuple(a + n for a, n in zip(origin, SHAPE, strict=True))).moved((10, 10, 10)).slices] = mask
    box = Box(start, tuple(a + n for a, n in zip(start, size, strict=True)))
    assert np.array_equal(packed.within(box), room[box.moved((10, 10, 10)).slices])
    assert packed.is_empty == (not mask.any())
    assert packed.mask().sum() == mask.sum()


def test_a_ball_of_a_hundred_thousand_voxels_takes_a_few_thousand_bytes() -> None:
    distance = np.linalg.norm(np.indices((70, 70, 70)) - 35, axis=0)
    packed = PackedMask.of(distance < 31)
    assert packed.mask().sum() > 110_000
    assert len(packed.bits) < 6_000


def test_boxes_share_and_enclose() -> None:
    one, other = Box((0, 0, 0), (4, 5, 6)), Box((3, 2, 1), (9, 9, 2))
    assert shared_box(one, other) == Box((3, 2, 1), (4, 5, 2))
    assert shared_box(one, Box((4, 0, 0), (5, 5, 5))) is None
    assert enclosing_box([one, other, Box((0, 0, 0), (0, 0, 0))]) == Box((0, 0, 0), (9, 9, 6))
    assert enclosing_box([]) is None
