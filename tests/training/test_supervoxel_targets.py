"""Supervoxel targets: what each change makes of an organ, by hand; where nothing fits nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vesalius.data.case import UNKNOWN
from vesalius.prompts.targets import ClickTarget
from vesalius.training.click_sampling import ClickedObject
from vesalius.training.recipes import ClickPrompting
from vesalius.training.supervoxel_targets import (
    Surroundings,
    changed_objects,
    dilated,
    opened,
    organ_and_neighbour,
    piece_of_organ,
    united_structures,
    unseen_structure,
)

SIDE = 20
NEVER = ClickPrompting(part=0.0, joined=0.0, unseen=0.0, united=0.0)


def box(i: tuple[int, int], j: tuple[int, int] = (5, 15), k: tuple[int, int] = (5, 15)) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE, SIDE), bool)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


def numbered(*masks: np.ndarray) -> np.ndarray:
    supervoxels = np.zeros((SIDE, SIDE, SIDE), np.int64)
    for number, mask in enumerate(masks, start=1):
        supervoxels[mask] = number
    return supervoxels


def organ(mask: np.ndarray, *, special: bool = False) -> ClickedObject:
    target = ClickTarget(id=1, name="organ", supported=True, special=special, layer=None)
    return ClickedObject(target, mask, np.ones_like(mask))


def around(supervoxels: np.ndarray, labels: np.ndarray, requested: np.ndarray) -> Surroundings:
    return Surroundings(labels, supervoxels, requested)


def rngs(count: int = 40) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_a_piece_of_an_organ_or_what_is_left_of_it() -> None:
    whole, piece = box((5, 15)), box((5, 9))
    scene = around(numbered(piece, box((9, 15))), whole.astype(np.uint8), whole)
    kinds = set()
    for rng in rngs():
        changed = piece_of_organ(scene, organ(whole), rng)
        assert changed is not None
        assert changed.beside is not None
        assert not (changed.mask & changed.beside).any()
        assert np.array_equal(changed.mask | changed.beside, whole)
        is_piece = changed.mask.sum() in (piece.sum(), whole.sum() - piece.sum())
        assert is_piece
        kinds.add((changed.target.supported, bool(np.array_equal(changed.mask, piece))))
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize("share", [(5, 15), (14, 15)], ids=["all of it", "a tenth, which erosion takes"])
def test_a_supervoxel_that_holds_too_much_or_too_little_of_an_organ_is_no_piece(share: tuple[int, int]) -> None:
    whole = box((5, 15))
    scene = around(numbered(box(share)), whole.astype(np.uint8), whole)
    assert all(piece_of_organ(scene, organ(whole), rng) is None for rng in rngs(5))


def test_the_only_neighbouring_piece_is_found() -> None:
    """VISTA3D loops over components 1 to n - 1: with one component it finds none."""
    whole, neighbour = box((5, 10)), box((10, 14))
    scene = around(numbered(neighbour), whole.astype(np.uint8), whole)
    for rng in rngs(10):
        changed = organ_and_neighbour(scene, organ(whole), rng)
        assert changed is not None
        assert np.array_equal(changed.mask, whole | neighbour)
        assert changed.also is not None
        assert np.array_equal(changed.also, neighbour)


def test_the_last_of_several_neighbouring_pieces_is_found_as_often_as_the_first() -> None:
    whole = box((8, 12))
    first, last = box((4, 8)), box((12, 16))
    scene = around(numbered(first | last), whole.astype(np.uint8), whole)
    found = [organ_and_neighbour(scene, organ(whole), rng) for rng in rngs()]
    pieces = [bool(np.array_equal(one.also, last)) for one in found if one is not None and one.also is not None]
    assert len(pieces) == 40
    assert 8 < sum(pieces) < 32


def test_what_does_not_touch_an_organ_is_labelled_or_too_small_is_not_joined() -> None:
    whole = box((5, 10))
    labels = whole.astype(np.uint8)
    apart = around(numbered(box((12, 16))), labels, whole)
    small = around(numbered(box((10, 11), (5, 7), (5, 7))), labels, whole)
    taken = labels.copy()
    taken[box((10, 14))] = 2
    other = around(numbered(box((10, 14))), taken, whole)
    for scene in (apart, small, other):
        assert all(organ_and_neighbour(scene, organ(whole), rng) is None for rng in rngs(5))


def test_an_unseen_structure_is_new_unlabelled_large_and_away_from_what_is_asked_for() -> None:
    whole, unseen = box((2, 6)), box((10, 18))
    labels = whole.astype(np.uint8)
    changed = unseen_structure(around(numbered(unseen), labels, whole), organ(whole), np.random.default_rng(0))
    assert changed is not None
    assert np.array_equal(changed.mask, unseen)
    assert not changed.target.supported
    touching = around(numbered(box((6, 18))), labels, whole)
    small = around(numbered(box((10, 12), (5, 7), (5, 7))), labels, whole)
    labelled = around(numbered(unseen), np.where(unseen, 2, labels).astype(np.uint8), whole)
    for scene in (touching, small, labelled):
        assert all(unseen_structure(scene, organ(whole), rng) is None for rng in rngs(5))


def test_united_structures_are_a_supervoxel_and_the_organs_it_reaches_into() -> None:
    whole, other, edge = box((0, 4)), box((8, 14)), box((14, 20))
    labels = (whole * 1 + other * 2 + edge * 3).astype(np.uint8)
    labels[:, :, 17:] = UNKNOWN
    supervoxel = box((6, 14), (5, 15), (5, 12))
    supervoxel[14, 5, 5] = True  # one voxel of the third organ: less than a tenth
    scene = around(numbered(supervoxel), labels, whole)
    changed = united_structures(scene, organ(whole), np.random.default_rng(0))
    assert changed is not None
    assert np.array_equal(changed.mask, supervoxel | other)
    assert not changed.target.supported


def test_special_classes_are_never_changed_and_others_as_often_as_the_prompting_says() -> None:
    whole = box((5, 15))
    labels, supervoxels = whole.astype(np.uint8), numbered(box((5, 9)), box((9, 15)))
    often = replace(NEVER, part=0.5)
    plain = [changed_objects([organ(whole)], labels, supervoxels, often, rng)[0] for rng in rngs()]
    special = [changed_objects([organ(whole, special=True)], labels, supervoxels, often, rng)[0] for rng in rngs()]
    assert 8 < sum(one.beside is not None for one in plain) < 32
    assert all(np.array_equal(one.mask, whole) and one.target.supported for one in special)
    assert all(
        changed_objects([organ(whole)], labels, supervoxels, NEVER, rng)[0].beside is None for rng in rngs(5)
    )


def test_where_nothing_fits_the_object_stays_as_it_is() -> None:
    whole = box((5, 15))
    air = np.zeros((SIDE, SIDE, SIDE), np.int64)
    always = ClickPrompting(part=0.25, joined=0.25, unseen=0.25, united=0.25)
    for rng in rngs(12):
        one = organ(whole)
        assert changed_objects([one], whole.astype(np.uint8), air, always, rng) == (one,)


def test_opening_leaves_the_largest_piece_without_threads() -> None:
    two = box((2, 8)) | box((9, 17)) | box((8, 9), (10, 11), (10, 11))
    assert np.array_equal(opened(two), box((9, 17)))
    assert not opened(box((3, 4))).any()
    assert dilated(box((5, 6), (5, 6), (5, 6))).sum() == 27
