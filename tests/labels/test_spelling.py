"""Spellings of one name meet; different names stay apart."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.labels.spelling import exact_key, is_text, loose_key, mirrored_name, ordered_key
from vesalius.labels.vista3d import TABLE


@pytest.mark.parametrize(
    "spelling", ["left kidney", "kidney_left", "Kidney-Left", "KidneyLeft", "  LEFT   kidney ", "kidney, left"]
)
def test_case_separators_and_order_do_not_matter(spelling: str):
    assert exact_key(spelling) == exact_key("left kidney")
    assert exact_key("right kidney") != exact_key(spelling)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lung tumours", "lung tumor"),
        ("oesophagus", "esophagus"),
        ("vertebra L5", "vertebrae L5"),
        ("ribs", "rib"),
        ("left iliac vein", "left iliac vena"),
        ("costal cartilage", "costal cartilages"),
    ],
)
def test_plural_and_british_spelling_do_not_matter_to_the_loose_key(one: str, other: str):
    assert exact_key(one) != exact_key(other)
    assert loose_key(one) == loose_key(other)


def test_words_that_end_in_s_keep_it():
    assert {loose_key(word) for word in ("pancreas", "humerus", "pelvis", "mass")} == {
        "pancreas",
        "humerus",
        "pelvis",
        "mass",
    }


def test_no_two_names_of_the_table_meet():
    for key in (exact_key, loose_key):
        assert len({key(structure.name) for structure in TABLE}) == len(TABLE)


@given(
    st.lists(st.sampled_from(["left", "upper", "lobe", "lung", "T12", "Ärm"]), min_size=1, max_size=5), st.data()
)
def test_keys_do_not_depend_on_order_case_or_separator(words: list[str], data: st.DataObject):
    shuffled = data.draw(st.permutations(words))
    separator = data.draw(st.sampled_from([" ", "_", "-", " - "]))
    assert exact_key(separator.join(shuffled).upper()) == exact_key(" ".join(words))
    assert loose_key(separator.join(shuffled)) == loose_key(" ".join(words))


def test_mirrored_names():
    assert mirrored_name("left rib 1") == "right rib 1"
    assert mirrored_name("kidney_right") == "kidney left"
    assert mirrored_name("liver") is None
    assert mirrored_name("left lateral ventricle") == "right lateral ventricle"
    for chamber in ("heart_ventricle_left", "right atrium", "left atrial appendage", "heart_myocardium_left"):
        assert mirrored_name(chamber) is None, "in a mirror it is still the same chamber"


def test_the_order_of_words_tells_names_apart_that_people_give() -> None:
    assert ordered_key("L1_Node-2") == ordered_key("l1 node 2") != ordered_key("L2 node 1")
    assert exact_key("L1 node 2") == exact_key("node 2 L1")


@pytest.mark.parametrize(("name", "can_be_written"), [("lésion 😀", True), ("\ud83d x", False), ("a\udcff", False)])
def test_half_a_surrogate_pair_is_no_text(name: str, can_be_written: bool):
    assert is_text(name) == can_be_written
