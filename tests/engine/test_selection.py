"""Selection: only a better score is better; what is in vain is counted; states go on."""

from __future__ import annotations

import pytest

from vesalius.engine.selection import Selection


def test_only_a_better_score_is_better_and_the_rest_is_in_vain() -> None:
    selection = Selection()
    scores = [0.2, 0.5, 0.5, float("nan"), 0.4, 0.6, 0.1]
    assert [selection.note(step, score) for step, score in enumerate(scores)] == [
        True,
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    assert (selection.best_step, selection.best_score, selection.in_vain, selection.validated) == (5, 0.6, 1, 6)


def test_an_undefined_first_score_is_no_best() -> None:
    selection = Selection()
    assert not selection.note(0, float("nan"))
    assert selection.best_step == -1
    assert selection.note(1, -100.0)


def test_a_state_goes_on_and_a_lacking_one_is_noticed() -> None:
    first, second = Selection(), Selection()
    first.note(3, 0.5)
    first.note(6, 0.1)
    second.load_state_dict(first.state_dict())
    assert not second.note(9, 0.5)
    assert (second.best_step, second.in_vain, second.validated) == (3, 2, 9)
    assert first.in_vain == 1
    with pytest.raises(KeyError):
        Selection().load_state_dict({"validated": 1})
