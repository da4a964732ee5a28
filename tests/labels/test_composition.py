"""A model's pairs become structures: facts found by name, its own ids kept, every colour its own."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import CheckpointError
from vesalius.labels.composition import compose
from vesalius.labels.vista3d import STRUCTURES, TABLE


def test_facts_are_found_by_name_and_the_models_ids_and_names_are_kept():
    by_id = {s.id: s for s in compose([(7, "kidney_left"), (3, "Liver"), (9, "hepatic tumor")])}
    assert by_id[7].name == "kidney_left"
    assert by_id[7].snomed == "64033007"
    assert "left kidney" in by_id[7].synonyms
    assert by_id[3].includes == (9,)
    assert by_id[9].layer == "tumours"
    assert set(by_id) == {3, 7, 9}


def test_the_models_ids_win_over_the_tables():
    structures = {s.name: s for s in compose([(2, "liver"), (20, "left kidney"), (21, "right kidney")])}
    assert structures["liver"].id == 2
    assert structures["kidney"].parts == (20, 21)
    assert structures["kidney"].id == 22  # 2, the table's, is taken
    assert structures["kidney"].status == "composite"


def test_a_stated_composite_keeps_its_id_and_is_made_of_its_parts():
    structures = {s.name: s for s in compose([(1, "lung"), (2, "right lung"), (3, "left lung")])}
    assert structures["lung"].id == 1
    assert structures["lung"].parts == (3, 2)
    assert structures["lung"].status == "composite"


def test_a_stated_composite_without_parts_is_a_class_of_its_own():
    (lung,) = compose([(1, "lung")])
    assert (lung.status, lung.parts) == ("trained", ())


def test_a_structure_is_no_part_of_itself():
    structures = {s.name: s for s in compose([(1, "left lung"), (2, "right lung")])}
    assert structures["left lung"].parts == ()
    assert structures["lung"].parts == (1, 2)


def test_the_smallest_parts_make_up_a_whole():
    lobes = [(s.id, s.name) for s in STRUCTURES if 28 <= s.id <= 32]
    structures = {s.name: s for s in compose([*lobes, (1, "left lung")])}
    assert structures["lung"].parts == (28, 29, 30, 31, 32)
    assert structures["left lung"].status == "trained"


def test_another_model_may_have_learnt_what_vista3d_could_not():
    assert compose([(5, "rectum")])[0].status == "trained"
    assert compose([(18, "rectum")])[0].status == "unsupported"
    others = [(label, f"organ {label}") for label in range(6, 18)]
    mine = [(1, "spleen"), (2, "right kidney"), (3, "liver"), *others, (18, "rectum")]  # the 18th by chance
    assert {one.name: one.status for one in compose(mine)}["rectum"] == "trained"


def test_two_names_never_share_a_row_of_the_table():
    structures = {s.name: s for s in compose([(1, "lung nodule"), (2, "lung tumor")])}
    assert structures["lung tumor"].layer == "tumours"
    assert structures["lung nodule"].code is None
    assert structures["lung nodule"].colour != structures["lung tumor"].colour


@pytest.mark.parametrize(
    "pairs",
    [
        [(1, "liver"), (1, "spleen")],
        [(1, "liver"), (2, "liver")],
        [(1, "left kidney"), (2, "kidney_left")],
        [(0, "background"), (1, "liver")],
        [(1, "liver"), (2, "\ud83d x")],
    ],
)
def test_a_vocabulary_with_an_id_or_name_twice_or_a_name_that_is_no_text_is_refused(pairs: list[tuple[int, str]]):
    with pytest.raises(CheckpointError, match=r"spec\.json"):
        compose(pairs)


NAMES = st.lists(st.text("abcdefgh", min_size=3, max_size=9), unique=True, max_size=60)


@given(NAMES)
def test_unknown_names_get_colours_that_no_other_has(names: list[str]):
    structures = compose([(i + 1, name) for i, name in enumerate(names)])
    colours = {s.colour for s in structures}
    assert len(colours) == len(names)
    assert not colours & {s.colour for s in TABLE}


@given(NAMES)
def test_colours_depend_on_the_names_only(names: list[str]):
    one = {s.name: s.colour for s in compose([(i + 1, name) for i, name in enumerate(names)])}
    other = {s.name: s.colour for s in compose([(i + 9, name) for i, name in enumerate(names)])}
    assert one == other
