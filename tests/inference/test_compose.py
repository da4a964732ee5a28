"""Composing labels: changes in order, locked structures as they are, whatever box one looks at."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.geometry.boxes import Box
from vesalius.geometry.packed_mask import PackedMask
from vesalius.inference.compose import LabelChange, compose

SHAPE = (5, 4, 6)
WHOLE = Box((0, 0, 0), SHAPE)


def change(label: int, added: np.ndarray, removed: np.ndarray) -> LabelChange:
    return LabelChange(label, PackedMask.of(added), PackedMask.of(removed))


def nothing() -> np.ndarray:
    return np.zeros(SHAPE, dtype=bool)


def one(*voxel: int) -> np.ndarray:
    mask = nothing()
    mask[voxel] = True
    return mask


def test_an_added_voxel_is_taken_from_whoever_held_it() -> None:
    base = np.full(SHAPE, 2, np.uint8)
    labels = compose(base, WHOLE, [change(1, one(1, 2, 3), nothing())], {})
    assert labels[1, 2, 3] == 1
    assert (labels == 2).sum() == base.size - 1
    assert (base == 2).all()


def test_a_removed_voxel_becomes_background_only_where_the_structure_holds_it() -> None:
    base = np.zeros(SHAPE, np.uint8)
    base[1, 2, 3], base[2, 2, 3] = 1, 2
    labels = compose(base, WHOLE, [change(1, nothing(), one(1, 2, 3) | one(2, 2, 3))], {})
    assert labels[1, 2, 3] == 0
    assert labels[2, 2, 3] == 2


def test_the_later_change_wins() -> None:
    first, second = change(1, one(1, 2, 3), nothing()), change(2, one(1, 2, 3), nothing())
    base = np.zeros(SHAPE, np.uint8)
    assert compose(base, WHOLE, [first, second], {})[1, 2, 3] == 2
    assert compose(base, WHOLE, [second, first], {})[1, 2, 3] == 1


def test_a_locked_structure_gives_nothing_and_takes_nothing() -> None:
    base = np.zeros(SHAPE, np.uint8)
    base[1, 2, 3] = base[4, 3, 5] = 1
    takes, gives = change(2, one(1, 2, 3), nothing()), change(1, one(0, 0, 0), one(4, 3, 5))
    labels = compose(base, WHOLE, [gives, takes], {1: PackedMask.of(base == 1)})
    assert (labels == base).all()


def test_what_a_locked_structures_own_change_would_add_stays_whose_it_is() -> None:
    base = np.full(SHAPE, 2, np.uint8)
    labels = compose(
        base, WHOLE, [change(1, one(0, 0, 0) | one(1, 2, 3), nothing())], {1: PackedMask.of(one(1, 2, 3))}
    )
    assert labels[0, 0, 0] == 2
    assert labels[1, 2, 3] == 1


masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random(SHAPE) < 0.3)
changes = st.lists(st.tuples(st.integers(1, 3), masks, masks), max_size=4)


@settings(max_examples=40, deadline=None)
@given(base=masks, edits=changes, locked=masks, start=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)))
def test_every_box_of_the_composition_is_the_composition_of_that_box(base, edits, locked, start) -> None:
    labels = np.where(base, 2, np.where(locked, 3, 0)).astype(np.uint8)
    packed = [change(*edit) for edit in edits]
    expected = labels.copy()
    for label, added, removed in (edit for edit in edits if edit[0] != 3):
        for voxel in np.ndindex(SHAPE):  # what the docstring says, voxel by voxel
            if removed[voxel] and expected[voxel] == label:
                expected[voxel] = 0
            if added[voxel]:
                expected[voxel] = label
    for voxel in np.ndindex(SHAPE):
        if (labels == 3)[voxel]:
            expected[voxel] = 3
        elif expected[voxel] == 3:
            expected[voxel] = 0
    box = Box(start, SHAPE)
    found = compose(labels[box.slices], box, packed, {3: PackedMask.of(labels == 3)})
    assert np.array_equal(found, expected[box.slices])
