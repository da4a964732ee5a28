"""Prompts: what lies in a window is asked for, what was not looked for is never a negative where it may be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.data.case import UNKNOWN
from vesalius.errors import UsageError
from vesalius.training.prompt_sampling import ask, known, targets
from vesalius.training.recipes import ClassPrompting

CLASSES = frozenset(range(1, 13))


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
    question = ask(labels_of(*inside), annotated, CLASSES, prompting, np.random.default_rng(seed))
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
    asked = [ask(labels_of(1), set(range(1, 9)), CLASSES, ClassPrompting(), rng).class_ids.tolist() for rng in rngs]
    assert len({tuple(ids) for ids in asked}) > 30
    assert set(sum(asked, [])) == CLASSES  # noqa: RUF017 - forty short lists
    again = ask(labels_of(1), set(range(1, 9)), CLASSES, ClassPrompting(), np.random.default_rng(3))
    assert again.class_ids.tolist() == asked[3]


def test_what_is_known_of_each_kind() -> None:
    labels = torch.tensor([[[0, 1, 2, 5, UNKNOWN]]], dtype=torch.uint8)  # 5 is drawn, but not looked for everywhere
    prompting = ClassPrompting(absent_classes=1, other_classes=1)
    question = ask(labels, {1, 3}, {1, 3, 5}, prompting, np.random.default_rng(0))
    assert question.class_ids.tolist() == [1, 3, 5]
    assert question.present == 1
    wanted, is_known = targets(labels, question), known(labels, question)
    assert wanted[:, 0, 0].int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert is_known[:, 0, 0].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 1, 1, 1, 0]]


def test_a_question_about_nothing_cannot_be_configured() -> None:
    with pytest.raises(UsageError):
        ClassPrompting(absent_classes=0)
    with pytest.raises(UsageError):
        ClassPrompting(other_classes=-1)
