"""Overlaps: names decide what includes what, and composites are never asked for."""

from __future__ import annotations

import pytest

from vesalius.data.case import UNKNOWN
from vesalius.labels.vista3d import TABLE
from vesalius.training.overlaps import Overlaps

VISTA3D = Overlaps.of([(s.id, s.name) for s in TABLE if s.id <= 132])
OFFICIAL = {1: {25, 26}, 4: {24}, 132: {57}}
"""MERGE_LIST of MONAI's ``apps/vista3d/sampler.py``."""


def test_vista3d_s_own_ids_merge_as_its_training_merges_them() -> None:
    from monai.apps.vista3d.sampler import MERGE_LIST

    assert {label: set(parts) for label, parts in MERGE_LIST.items()} == OFFICIAL
    assert {label: set(parts) for label, parts in VISTA3D.includes.items()} == OFFICIAL


def test_a_vocabulary_of_one_s_own_merges_by_what_its_ids_are_called_and_not_by_the_ids() -> None:
    """VISTA3D's fine-tuning merges a user's label 25 into 1, whatever they are."""
    mine = Overlaps.of([(1, "left femur"), (25, "left hip"), (26, "sacrum"), (7, "liver"), (8, "hepatic tumor")])
    assert mine.includes == {7: frozenset((8,))}
    assert mine.voxels_of(1) == {1}
    assert mine.excludes(1, 25)
    assert not mine.excludes(7, 8)
    assert mine.inside == {8}


def test_what_may_lie_in_another_without_being_part_of_it_is_hidden_by_it() -> None:
    mine = Overlaps.of([(1, "left kidney"), (2, "left kidney cyst"), (3, "liver"), (4, "hepatic tumor")])
    assert mine.hides(2, 1)
    assert mine.hides(1, 2)
    assert not mine.hides(2, 3)
    assert not mine.hides(4, 3), "the liver includes it"
    assert not mine.hides(2, 2)


def test_composites_and_what_was_never_trained_are_not_asked_for() -> None:
    assert not VISTA3D.trainable & {2, 16, 18, 20, 21, 129, 130, 131}
    assert len(VISTA3D.trainable) == 124


def test_a_class_inside_others_is_excluded_by_none_and_excludes_none() -> None:
    assert not VISTA3D.excludes(23, 28)
    assert not VISTA3D.excludes(28, 23)
    assert VISTA3D.excludes(28, 29)


def test_novel_classes_are_not_trainable_and_their_voxels_are_those_of_what_includes_them_or_unknown() -> None:
    names = [(1, "liver"), (2, "hepatic tumor"), (3, "spleen")]
    kept = Overlaps.of(names, novel=(2, 3))
    assert kept.trainable == {1}
    assert kept.kept_out == {2: 1, 3: UNKNOWN}
    assert Overlaps.of(names, novel=(1, 2)).kept_out == {1: UNKNOWN, 2: UNKNOWN}


def id_of(name: str) -> int:
    return next(s.id for s in TABLE if s.name == name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left kidney cyst", "left kidney"),
        ("right kidney cyst", "right kidney"),
        ("vertebrae S1", "sacrum"),
        ("portal vein and splenic vein", "liver"),
        ("portal vein and splenic vein", "pancreas"),
        ("left atrial appendage", "heart"),
        ("pulmonary vein", "left lung upper lobe"),
        ("costal cartilages", "left rib 5"),
        ("duodenum", "small bowel"),
        ("kidney mass", "left kidney"),  # which can be drawn, though not asked for
    ],
)
def test_what_one_data_set_draws_as_part_of_another_excludes_it_nowhere(one: str, other: str) -> None:
    assert not VISTA3D.excludes(id_of(one), id_of(other))
    assert not VISTA3D.excludes(id_of(other), id_of(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [("left kidney", "right kidney"), ("left kidney cyst", "right kidney"), ("liver", "spleen")],
)
def test_what_lies_apart_is_known_to(one: str, other: str) -> None:
    assert VISTA3D.excludes(id_of(one), id_of(other))
    assert VISTA3D.excludes(id_of(other), id_of(one))


def test_nothing_is_known_of_names_the_table_does_not_have() -> None:
    mine = Overlaps.of([(1, "liver"), (2, "my lesion"), (3, "spleen"), (4, "liver tumor")])
    assert not mine.excludes(4, 1)
    assert not mine.excludes(2, 1)
    assert not mine.excludes(1, 2)
    assert mine.excludes(1, 3)


def test_a_lung_excludes_no_lobe_of_its_own_and_names_are_known_by_synonyms() -> None:
    names = [(1, "left lung"), (2, "left lung upper lobe"), (3, "right lung upper lobe"), (4, "kidney_left")]
    mine = Overlaps.of([*names, (5, "left kidney cyst")])
    assert not mine.excludes(1, 2)
    assert mine.excludes(1, 3)
    assert not mine.excludes(5, 4)
    assert mine.excludes(5, 2)
