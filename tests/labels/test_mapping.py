"""A data set's ids in a vocabulary: by name, many to one, and never more than was looked for."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import FileFormatError, UnknownClassError
from vesalius.labels.mapping import UNKNOWN, LabelMapping
from vesalius.labels.vista3d import STRUCTURES
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(structure.id, structure.name) for structure in STRUCTURES])


def test_names_synonyms_and_ids_find_their_class_and_several_ids_may_be_one() -> None:
    mapping = LabelMapping.of(
        {0: "background", 1: "Liver", 2: "kidney_left", 3: 26, 4: "hepatic tumour"}, VOCABULARY
    )
    assert dict(mapping.classes) == {1: 1, 2: 14, 3: 26, 4: 26}
    assert mapping.annotated == {1, 14, 26}


def test_only_what_is_mapped_was_looked_for() -> None:
    mapping = LabelMapping.of({1: "liver", 2: None}, VOCABULARY)
    assert mapping.annotated == {1}
    assert mapping.declared == {0, 1, 2}


def test_a_label_map_is_renamed_all_at_once() -> None:
    mapping = LabelMapping.of({1: "spleen", 3: "liver", 7: None}, VOCABULARY, unknown=[9])
    labels = np.array([0, 1, 3, 7, 9, 1], np.uint16).reshape(1, 2, 3)
    renamed = mapping.apply(labels)
    assert renamed.dtype == np.uint8
    assert renamed.ravel().tolist() == [0, 3, 1, UNKNOWN, UNKNOWN, 3]  # 1 became 3 and was not renamed again


def test_of_what_is_left_out_nothing_is_known() -> None:
    mapping = LabelMapping.of({1: "liver", 2: None}, VOCABULARY)  # 2 may be a tumour, which the liver includes
    assert mapping.apply(np.array([[[0, 1, 2]]], np.uint8)).ravel().tolist() == [0, 1, UNKNOWN]


def test_an_id_that_was_never_declared_is_refused() -> None:
    mapping = LabelMapping.of({1: "spleen"}, VOCABULARY)
    assert mapping.foreign([0, 1, 300, 4]) == (4, 300)
    with pytest.raises(FileFormatError, match=r"\[300\]"):
        mapping.apply(np.array([[[0, 1, 300]]], np.uint16))


def test_a_misspelt_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownClassError, match="for label 4") as caught:
        LabelMapping.of({4: "livr"}, VOCABULARY)
    assert "'liver'" in caught.value.do
    assert "null" in caught.value.do


@pytest.mark.parametrize(("name", "why"), [("kidney", "left kidney, right"), ("rectum", "cannot be predicted")])
def test_a_name_that_is_no_single_class_is_refused(name: str, why: str) -> None:
    with pytest.raises(UnknownClassError, match=why):
        LabelMapping.of({1: name}, VOCABULARY)


@pytest.mark.parametrize(
    ("classes", "left_out"), [({0: 1}, ()), ({1: 0}, ()), ({1: UNKNOWN}, ()), ({1: 1}, (1,)), ({70000: 1}, ())]
)
def test_a_mapping_that_makes_no_sense_is_refused(classes: dict[int, int], left_out: tuple[int, ...]) -> None:
    with pytest.raises(FileFormatError):
        LabelMapping(classes, frozenset(left_out))


def test_the_published_maps_of_vista3d_s_data_sets_fit(shared_data) -> None:
    import json

    path = shared_data.parent / "reference" / "vista3d_classes.json"
    maps = json.loads(path.read_text())["label_mappings_local_to_global"]
    unused = {133, 134, 135}  # ids of the maps that the shipped model has not
    for name, pairs in maps.items():
        meanings = {local: None if known in unused else known for local, known in pairs}
        mapping = LabelMapping.of(meanings, VOCABULARY)
        assert mapping.annotated == {known for _, known in pairs} - unused, name
