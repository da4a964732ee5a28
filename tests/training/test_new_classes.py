"""New classes: known words keep their rows, others get free ids, and a slip of the pen is no new class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec, VistaArchitecture
from vesalius.training.new_classes import EMBEDDING, learnt_classes, with_classes, with_rows

SPEC = ModelSpec(
    name="some",
    architecture=VistaArchitecture(
        width=8, blocks_down=(1, 1), num_embeddings=6, last_supported=5, special_classes=(4,)
    ),
    window_size=(16, 16, 16),
    vocabulary=((1, "liver"), (2, "left kidney"), (3, "right kidney")),
    single_piece=(1, 2),
    dice={"liver": 0.9},
    dice_source="made up",
)
VOCABULARY = Vocabulary.of(SPEC.vocabulary)


def listed(*names: str | int | None, classes: tuple[str, ...] | None = None) -> DataList:
    case = ListedCase(name="a", image=Path("a.nii.gz"), label=Path("b.nii.gz"), classes=classes)
    meanings = dict(enumerate(names, start=1))
    return DataList(name="few", path=Path("few.json"), format="monai", cases=(case,), meanings=meanings)


def test_a_known_word_keeps_its_id_and_others_get_the_next_free_ones() -> None:
    liver, vein, lobe = learnt_classes(listed("Hepatic vein", "liver_", None, "Spiegel lobe"), SPEC)[0:3]
    assert [(one.id, one.name, one.is_new) for one in (liver, vein, lobe)] == [
        (5, "Hepatic vein", True),
        (1, "liver", False),
        (6, "Spiegel lobe", True),  # 4 is special to clicks
    ]


def test_synonyms_ids_and_what_was_only_looked_for_are_found_too() -> None:
    found = learnt_classes(listed("kidney_left", 3, classes=("liver", "kidney left")), SPEC)
    assert [(one.id, one.is_new) for one in found] == [(2, False), (3, False), (1, False)]


@pytest.mark.parametrize("word", ["livre", "left kidny", "right kidnei"])
def test_a_slip_of_the_pen_is_no_new_class_unless_it_is_said_to_be_one(word: str) -> None:
    with pytest.raises(UnknownClassError, match="--new"):
        learnt_classes(listed(word), SPEC)
    assert learnt_classes(listed(word), SPEC, new=[word])[0].is_new


@pytest.mark.parametrize("word", ["left lung", "liver vessel", "vertebrae L1", "kidney cortex"])
def test_a_word_that_only_resembles_a_class_is_a_new_one(word: str) -> None:
    assert learnt_classes(listed(word), SPEC)[0].is_new


def test_a_word_that_means_several_classes_is_refused() -> None:
    with pytest.raises(UnknownClassError, match="is made of"):
        learnt_classes(listed("kidney"), SPEC)


LIKE_VISTA3D = replace(
    SPEC,
    architecture=replace(SPEC.vista, num_embeddings=40),
    vocabulary=((1, "liver"), (2, "kidney"), (5, "right kidney"), (14, "left kidney"), (18, "rectum")),
    everything=(1, 5, 14),
    single_piece=(),
)


def test_what_a_model_lists_without_predicting_it_is_a_new_class_that_the_tuned_model_predicts() -> None:
    for keep in (False, True):
        words = listed("Rectum", "liver")
        classes = learnt_classes(words, LIKE_VISTA3D)
        assert [(one.id, one.name, one.is_new) for one in classes] == [(3, "Rectum", True), (1, "liver", False)]
        tuned = with_classes(LIKE_VISTA3D, classes, keep=keep)
        assert (18 in tuned.names, 14 in tuned.names) == (False, keep)
        mapping = words.mapping(Vocabulary.of(tuned.vocabulary))
        assert mapping.classes == {1: 3, 2: 1}
    with pytest.raises(UnknownClassError, match=r"write 'rectum'$"):
        learnt_classes(listed(18), LIKE_VISTA3D)


def test_what_a_model_makes_of_parts_is_a_new_class_where_it_is_said_to_be() -> None:
    with pytest.raises(UnknownClassError, match="--new 'kidney'"):
        learnt_classes(listed("kidney"), LIKE_VISTA3D)
    words = listed("kidney", "liver")
    for how in ({"new": ["Kidney"]}, {"like": {"kidney": "left kidney"}}):
        classes = learnt_classes(words, LIKE_VISTA3D, **how)  # type: ignore[arg-type]
        assert [(one.id, one.is_new) for one in classes] == [(3, True), (1, False)]
    tuned = with_classes(LIKE_VISTA3D, classes, keep=False)
    assert words.mapping(Vocabulary.of(tuned.vocabulary)).classes == {1: 3, 2: 1}
    with pytest.raises(UsageError, match="--keep-names"):
        with_classes(LIKE_VISTA3D, classes, keep=True)


def test_two_words_for_one_unpredicted_structure_are_one_class() -> None:
    spine = replace(LIKE_VISTA3D, vocabulary=((1, "liver"), (131, "vertebrae L6")), everything=(1,))
    (one,) = learnt_classes(listed("L6", "vertebrae L6"), spine)
    assert (one.id, one.name, one.is_new) == (2, "L6", True)


def test_new_and_like_name_what_is_the_list_s_and_unknown() -> None:
    for words in ({"new": ["spleen"]}, {"new": ["liver"]}, {"like": {"liver": "left kidney"}}):
        with pytest.raises(UsageError, match="after --new and --like"):
            learnt_classes(listed("liver", "hepatic vein"), SPEC, **words)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="label_mapping"):
        learnt_classes(listed(), SPEC)
    with pytest.raises(UnknownClassError):
        learnt_classes(listed("hepatic vein"), SPEC, like={"hepatic vein": "aorta"})


def test_the_spec_names_what_was_taught_claims_nothing_and_its_table_is_long_enough() -> None:
    classes = learnt_classes(listed("liver", "hepatic vein", "Spiegel lobe"), SPEC)
    spec = with_classes(SPEC, classes, keep=False)
    assert spec.vocabulary == ((1, "liver"), (5, "hepatic vein"), (6, "Spiegel lobe"))
    assert (spec.everything, spec.single_piece, spec.dice) == ((1, 5, 6), (1,), {})
    assert spec.vista.num_embeddings == 7
    kept = with_classes(SPEC, classes, keep=True)
    assert set(kept.names) == {1, 2, 3, 5, 6}
    assert set(Vocabulary.of(kept.vocabulary).everything) >= {1, 5, 6}


def test_rows_of_known_classes_stay_and_new_ones_differ_or_begin_as_another() -> None:
    table = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    state = {EMBEDDING: table, "other": torch.zeros(1)}
    words = listed("liver", "hepatic vein", "Spiegel lobe", "portal branch")
    classes = learnt_classes(words, SPEC, like={"portal branch": "left kidney"})
    spec = with_classes(SPEC, classes, keep=False)
    grown = with_rows(state, SPEC, spec, classes=classes, seed=0)
    rows = grown[EMBEDDING]
    assert rows.shape == (spec.vista.num_embeddings, 8)
    assert torch.equal(rows[1], table[1])
    assert torch.equal(rows[7], table[2])
    assert not torch.allclose(rows[5], rows[6])
    assert not torch.equal(rows[5], table[5])
    assert torch.equal(with_rows(state, SPEC, spec, classes=classes, seed=0)[EMBEDDING], rows)
    assert not torch.equal(with_rows(state, SPEC, spec, classes=classes, seed=1)[EMBEDDING][5], rows[5])
    assert grown["other"] is state["other"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_new_row_is_drawn_like_those_of_predicted_classes_and_not_like_those_of_none(count: int) -> None:
    table = torch.full((6, 256), 100.0)
    table[1 : count + 1] = torch.randn(count, 256, generator=torch.Generator().manual_seed(1))
    base = replace(SPEC, vocabulary=SPEC.vocabulary[:count], single_piece=())
    classes = learnt_classes(listed("hepatic vein", "Spiegel lobe"), base)
    spec = with_classes(base, classes, keep=False)
    rows = with_rows({EMBEDDING: table}, base, spec, classes=classes, seed=0)[EMBEDDING]
    first, second = (rows[one.id] for one in classes)
    for row in (first, second):
        assert row.mean().abs() < 0.3
        assert 0.5 < row.std() < 2
    assert (first - second).std() > 0.5


def test_ids_do_not_grow_past_what_a_label_map_holds() -> None:
    full = replace(SPEC, vocabulary=tuple((label, f"class number{label}x") for label in range(1, 255)))
    with pytest.raises(UsageError, match="254 classes"):
        learnt_classes(listed("hepatic vein"), full)
