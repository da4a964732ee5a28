"""What users type means what they meant; what means nothing is refused with a way out."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels import vocabulary
from vesalius.labels.vista3d import EVERYTHING, STRUCTURES
from vesalius.labels.vocabulary import Target, Vocabulary

VISTA3D = Vocabulary.of([(s.id, s.name) for s in STRUCTURES], everything=EVERYTHING)
SMALL = Vocabulary.of(
    [
        (1, "brainstem"),
        (2, "left parotid gland"),
        (3, "right parotid gland"),
        (4, "left lung"),
        (5, "right lung"),
        (6, "kidney_left"),
        (7, "liver"),
        (20, "widget"),
    ]
)


def ids(vocabulary: Vocabulary, *requests: str | int) -> tuple[int, ...]:
    return tuple(target.id for target in vocabulary.resolve(requests))


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        ("liver", 1),
        ("Left Kidney", 14),
        ("kidney_left", 14),
        ("left-kidney", 14),
        ("14", 14),
        (14, 14),
        ("urinary_bladder", 15),
        ("lung_upper_lobe_left", 28),
        ("rib_right_12", 86),
        ("L5", 33),
        ("vertebra L5", 33),
        ("vertebrae_S1", 127),
        ("IVC", 7),
        ("hip_left", 95),
        ("iliac_vena_right", 61),
        ("Oesophagus", 11),
        ("hepatic tumours", 26),
        ("livers", 1),
        ("clavicle right", 92),
        ("airway", 132),
    ],
)
def test_names_synonyms_and_ids_are_understood(request_: str | int, label: int):
    assert ids(VISTA3D, request_) == (label,)


def test_every_name_and_synonym_of_the_table_means_its_structure():
    for structure in STRUCTURES:
        if structure.status != "unsupported":
            for word in (structure.name, *structure.synonyms, structure.name.upper().replace(" ", "_")):
                assert ids(VISTA3D, word) == (structure.id,), word


def test_groups_stand_for_their_members_apart():
    assert ids(VISTA3D, "kidneys") == (5, 14)
    assert ids(VISTA3D, "lung lobes") == ids(VISTA3D, "lungs") == (28, 29, 30, 31, 32)
    assert len(ids(VISTA3D, "vertebrae")) == 25
    assert len(ids(VISTA3D, "Ribs")) == 24
    assert ids(VISTA3D, "left ribs") == tuple(range(63, 75))
    assert ids(VISTA3D, "everything") == EVERYTHING
    assert all(target.members == (target.id,) for target in VISTA3D.resolve(["bones"]))


def test_no_request_means_everything():
    assert ids(VISTA3D) == EVERYTHING


def test_everything_without_a_spec_is_what_lies_inside_nothing_else():
    assert Vocabulary.of([(s.id, s.name) for s in STRUCTURES]).everything == EVERYTHING


def test_a_composite_is_one_target_of_merged_members():
    assert VISTA3D.resolve(["kidney"]) == (Target(2, "kidney", (14, 5)),)
    assert VISTA3D.resolve(["lung"]) == (Target(20, "lung", (28, 29, 30, 31, 32)),)
    (bone,) = VISTA3D.resolve(["bone"])
    assert bone.members == STRUCTURES[20].parts
    assert len(bone.members) == 62


def test_larger_parts_the_model_lacks_are_made_of_smaller_ones():
    (lung,) = VISTA3D.resolve(["left lung"])
    assert lung.members == (28, 29)
    assert lung.id not in {s.id for s in STRUCTURES}
    assert SMALL.resolve(["lung"])[0].members == (4, 5)


def test_a_composite_needs_all_its_parts():
    with pytest.raises(UnknownClassError, match="kidney_left"):
        SMALL.resolve(["kidney"])
    assert ids(SMALL, "kidneys") == (6,)


def test_duplicates_are_merged_and_the_order_is_the_users():
    assert ids(VISTA3D, "spleen", "liver", "3", "SPLEEN", "kidneys", "right kidney") == (3, 1, 5, 14)


@pytest.mark.parametrize("whole", ["kidney", 2])
@pytest.mark.parametrize("part", ["left kidney", "kidneys", "everything"])
def test_a_composite_together_with_its_part_is_refused_with_both_ways_out(whole: str | int, part: str):
    for requests in ([whole, part], [part, whole]):
        with pytest.raises(UsageError) as refusal:
            VISTA3D.resolve(requests)
        assert "'kidney' alone" in refusal.value.do
        assert "'kidneys'" in refusal.value.do


def test_composites_that_share_parts_are_refused():
    with pytest.raises(UsageError, match="'left lung'"):
        VISTA3D.resolve(["left lung", "lung"])
    with pytest.raises(UsageError, match="'bones'"):
        VISTA3D.resolve(["left rib 1", "bone"])
    assert len(VISTA3D.resolve(["left lung", "right lung"])) == 2


def test_structures_on_different_layers_do_not_exclude_each_other():
    assert ids(VISTA3D, "liver", "hepatic tumor", "hepatic vessel", "trachea", "airway") == (1, 26, 25, 57, 132)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("livre", "liver"), ("spleeen", "spleen"), ("left kindey", "left kidney"), ("vertebra L55", "vertebrae L5")],
)
def test_unknown_names_are_refused_with_what_may_be_meant(wrong: str, meant: str):
    with pytest.raises(UnknownClassError) as refusal:
        VISTA3D.resolve([wrong])
    assert repr(wrong) in refusal.value.got
    assert repr(meant) in refusal.value.do


@pytest.mark.parametrize("wrong", ["xyzzy", "", "   ", "<script>", 0, 133, -1, "999", "9" * 5000])
def test_nonsense_is_refused(wrong: str | int):
    with pytest.raises(UnknownClassError):
        VISTA3D.resolve([wrong])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (16, "duplicate of prostate"),
        ("rectum", "insufficient data"),
        ("129", "insufficient data"),
        ("liver tumour", "superseded by hepatic tumor"),
        ("L6 vertebrae", "insufficient data"),
    ],
)
def test_what_vista3d_names_and_cannot_predict_is_refused_with_the_reason(request_: str | int, reason: str):
    with pytest.raises(UnknownClassError, match=reason):
        VISTA3D.resolve([request_])


def test_the_reason_is_given_also_where_the_spec_left_the_class_out():
    supported = [(s.id, s.name) for s in STRUCTURES if s.status != "unsupported"]
    with pytest.raises(UnknownClassError, match="insufficient data"):
        Vocabulary.of(supported).resolve(["rectum"])


def test_where_nothing_is_alike_the_names_of_a_small_model_are_told():
    with pytest.raises(UnknownClassError, match=r"ask for one of: liver, spleen$"):
        Vocabulary.of([(1, "liver"), (2, "spleen")]).resolve(["vertebrae"])


def test_the_error_counts_what_may_be_asked_for_and_not_only_what_is_made_unasked():
    some = Vocabulary.of([(1, "liver"), (2, "spleen"), (3, "heart")], everything=[1])
    with pytest.raises(UnknownClassError, match=r"one of the 3 classes"):
        some.resolve(["vertebrae"])


def test_a_name_of_another_model_is_unknown_here():
    with pytest.raises(UnknownClassError):
        VISTA3D.resolve(["mandible"])
    assert ids(SMALL, "parotid_gland_left", "brain stem") == (2, 1)


def test_partners_are_found_both_ways_and_stay_within_the_vocabulary():
    assert VISTA3D.left_right_partner(14) == 5
    assert VISTA3D.left_right_partner(5) == 14
    assert VISTA3D.left_right_partner(63) == 75
    assert VISTA3D.left_right_partner(1) is None
    assert VISTA3D.left_right_partner(31) is None  # there is no left middle lobe
    assert SMALL.left_right_partner(6) is None  # this model has no right kidney
    for structure in VISTA3D.structures:
        partner = VISTA3D.left_right_partner(structure.id)
        assert partner is None or VISTA3D.left_right_partner(partner) == structure.id


def test_layers():
    assert VISTA3D.overlap_layer(26) == "tumours"
    assert VISTA3D.overlap_layer(25) == "vessels"
    assert VISTA3D.overlap_layer(1) is None


def test_by_name_and_by_id():
    assert VISTA3D.by_name("Kidney_Left").id == 14
    assert VISTA3D.by_id(14).name == "left kidney"
    assert VISTA3D.by_id(14).snomed == "64033007"
    with pytest.raises(UnknownClassError, match="liver"):
        VISTA3D.by_name("livver")
    with pytest.raises(UnknownClassError):
        VISTA3D.by_name("kidneys")  # a group is not a structure


def test_the_example_of_the_docstring_holds():
    results = doctest.testmod(vocabulary, raise_on_error=True)
    assert results.attempted == 1


def test_a_backbone_without_classes_refuses_everything():
    empty = Vocabulary.of([])
    assert empty.everything == ()
    with pytest.raises(UnknownClassError):
        empty.resolve(["liver"])
    with pytest.raises(UnknownClassError):
        empty.by_id(1)


@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=12))
def test_ids_come_back_once_each_in_order(labels: list[int]):
    assert ids(VISTA3D, *labels) == tuple(dict.fromkeys(labels))


@given(st.text("\x00\u0660<>&;?*[]{}'\"\\/ .,-_", max_size=30))
def test_no_odd_text_means_anything_or_breaks_the_lookup(text: str):
    with pytest.raises(UnknownClassError):
        VISTA3D.resolve([text])
