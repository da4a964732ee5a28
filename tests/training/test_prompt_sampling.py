"""Prompts: what lies in a window is asked for, what was not looked for is never a negative where it may be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.data.case import UNKNOWN
from vesalius.errors import UsageError
from vesalius.training.overlaps import Overlaps
from vesalius.training.prompt_sampling import ask, known, targets
from vesalius.training.recipes import ClassPrompting

CLASSES = frozenset(range(1, 13))
APART = Overlaps(CLASSES)
ABDOMEN = Overlaps.of([(1, "liver"), (2, "spleen"), (5, "hepatic vessel"), (6, "hepatic tumor"), (7, "trachea")])


def labels_of(*ids: int) -> torch.Tensor:
    labels = torch.zeros(4, 4, 4, dtype=torch.uint8)
    labels.view(-1)[1 : len(ids) + 1] = torch.tensor(ids, dtype=torch.uint8)
    return labels


@given(
    st.sets(st.sampled_from(sorted(CLASSES)), min_size=1),
    st.sets(st.sampled_from(sorted(CLASSES))),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_the_three_kinds_are_asked_for_in_order(
    annotated: set[int], inside: set[int], absent: int, other: int, seed: int
) -> None:
    prompting = ClassPrompting(absent_classes=absent, other_classes=other)
    question = ask(labels_of(*inside), annotated, APART, prompting, np.random.default_rng(seed))
    ids = question.class_ids.tolist()
    assert len(set(ids)) == len(ids) > 0
    assert ids[: question.present] == sorted(inside & annotated)
    looked_for = [i for i, is_annotated in zip(ids, question.annotated.tolist(), strict=True) if is_annotated]
    assert set(looked_for[question.present :]) <= annotated - inside
    assert len(looked_for) - question.present == min(absent, len(annotated - inside))
    rest = ids[len(looked_for) :]
    assert set(rest) <= CLASSES - annotated
    assert len(rest) == min(other, len(CLASSES - annotated))
    assert ids == looked_for + rest


def test_absent_and_other_classes_change_with_the_generator_and_only_with_it() -> None:
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    asked = [ask(labels_of(1), set(range(1, 9)), APART, ClassPrompting(), rng).class_ids.tolist() for rng in rngs]
    assert len({tuple(ids) for ids in asked}) > 30
    assert set(sum(asked, [])) == CLASSES  # noqa: RUF017 - forty short lists
    again = ask(labels_of(1), set(range(1, 9)), APART, ClassPrompting(), np.random.default_rng(3))
    assert again.class_ids.tolist() == asked[3]


def test_what_is_known_of_each_kind() -> None:
    labels = torch.tensor([[[0, 1, 2, 5, UNKNOWN]]], dtype=torch.uint8)  # 5 is drawn, but not looked for everywhere
    prompting = ClassPrompting(absent_classes=1, other_classes=1)
    overlaps = Overlaps(frozenset((1, 3, 5)))
    question = ask(labels, {1, 3}, overlaps, prompting, np.random.default_rng(0))
    assert question.class_ids.tolist() == [1, 3, 5]
    assert question.present == 1
    wanted, is_known = targets(labels, question, overlaps), known(labels, question, overlaps)
    assert wanted[:, 0, 0].int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert is_known[:, 0, 0].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 1, 1, 1, 0]]


def test_a_question_about_nothing_cannot_be_configured() -> None:
    with pytest.raises(UsageError):
        ClassPrompting(absent_classes=0)
    with pytest.raises(UsageError):
        ClassPrompting(other_classes=-1)
    with pytest.raises(UsageError):
        ClassPrompting(present_classes=0)


def test_no_more_classes_of_a_window_are_asked_for_than_the_prompting_says() -> None:
    prompting = ClassPrompting(present_classes=2, absent_classes=1, other_classes=0)
    asked = [
        ask(labels_of(1, 2, 3, 4), {1, 2, 3, 4, 5}, APART, prompting, np.random.default_rng(n)) for n in range(40)
    ]
    assert {question.present for question in asked} == {2}
    assert all(question.class_ids.tolist()[2:] == [5] for question in asked)
    assert {label for question in asked for label in question.class_ids.tolist()[:2]} == {1, 2, 3, 4}


def test_the_background_and_what_is_unknown_are_never_asked_for() -> None:
    labels = labels_of(1, UNKNOWN)
    for seed in range(20):
        question = ask(
            labels, {0, 1, 2, UNKNOWN}, APART, ClassPrompting(absent_classes=1), np.random.default_rng(seed)
        )
        assert question.class_ids.tolist()[: question.present] == [1]


def test_a_liver_is_all_that_the_vocabulary_says_it_includes() -> None:
    labels = torch.tensor([[[0, 1, 2, 5, 6, UNKNOWN]]], dtype=torch.uint8)
    question = ask(labels, {1, 6}, ABDOMEN, ClassPrompting(other_classes=0), np.random.default_rng(0))
    assert question.class_ids.tolist() == [1, 6]
    assert targets(labels, question, ABDOMEN)[:, 0, 0].int().tolist() == [[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0]]
    assert known(labels, question, ABDOMEN)[:, 0, 0].int().tolist() == [[1, 1, 1, 1, 1, 0]] * 2


def test_a_liver_of_which_only_the_tumour_lies_in_the_window_is_there() -> None:
    question = ask(labels_of(6), {1, 6}, ABDOMEN, ClassPrompting(other_classes=0), np.random.default_rng(0))
    assert question.present == 2


def test_what_lies_inside_others_is_not_excluded_by_them_where_nobody_looked_for_it() -> None:
    labels = torch.tensor([[[0, 1, 2, 7]]], dtype=torch.uint8)
    prompting = ClassPrompting(other_classes=9)
    question = ask(labels, {1, 2, 7}, ABDOMEN, prompting, np.random.default_rng(0))
    rows = dict(
        zip(question.class_ids.tolist(), known(labels, question, ABDOMEN)[:, 0, 0].int().tolist(), strict=True)
    )
    assert rows[6] == rows[5] == [0, 0, 0, 0]  # a voxel of liver may be tumour
    assert rows[1] == rows[2] == rows[7] == [1, 1, 1, 1]
    unlooked = ask(labels, {2}, ABDOMEN, prompting, np.random.default_rng(0))
    rows = dict(
        zip(unlooked.class_ids.tolist(), known(labels, unlooked, ABDOMEN)[:, 0, 0].int().tolist(), strict=True)
    )
    assert rows[1] == [0, 1, 1, 1]  # liver was found; spleen and trachea are not liver


def test_caps_and_counts_are_those_of_monai_s_sampler() -> None:
    """Where MONAI's is right: classes in the window are asked for, then absent ones, each up to its number."""
    from monai.apps.vista3d.sampler import sample_prompt_pairs

    labels, listed = labels_of(1, 2, 3, 4, 9), [1, 2, 3, 4, 5, 6, 7, 8]
    for present, absent in ((2, 1), (4, 3), (8, 8)):
        official, *_ = sample_prompt_pairs(
            labels[None, None].long(),
            listed,
            max_foreprompt=present,
            max_backprompt=absent,
            drop_label_prob=0,
            drop_point_prob=1,
        )
        prompting = ClassPrompting(present_classes=present, absent_classes=absent, other_classes=0)
        question = ask(labels, set(listed), APART, prompting, np.random.default_rng(0))
        theirs, ours = official[:, 0].tolist(), question.class_ids.tolist()
        assert len(theirs) == len(ours)
        for kind in ({1, 2, 3, 4}, {5, 6, 7, 8}):
            assert len(kind & set(theirs)) == len(kind & set(ours))
        assert set(theirs) | set(ours) <= set(listed)  # 9 lies there, and the data set does not list it
