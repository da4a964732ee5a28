"""Cross-validation: every labelled case is held out once, and no case has a say in what it is judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UsageError
from vesalius.training.cross_validation import (
    Curve,
    best_step,
    mean_dice,
    stated_folds,
    unchosen_scores,
    with_folds,
)


def listed(count: int, folds: dict[int, int] | None = None) -> DataList:
    cases = [
        ListedCase(name=f"c{n}", image=Path(f"{n}.nii"), label=Path(f"l{n}.nii"), fold=(folds or {}).get(n))
        for n in range(count)
    ]
    others = [ListedCase(name="bare", image=Path("b.nii")), ListedCase(name="t", split="test", image=Path("t.nii"))]
    return DataList(name="few", path=Path("few.json"), format="monai", cases=(*cases, *others))


def curve(*points: tuple[int, float], case: str = "a") -> Curve:
    return Curve(tuple(step for step, _ in points), tuple({case: {"x": dice}} for _, dice in points))


def test_every_labelled_case_is_held_out_once_and_folds_are_even() -> None:
    parted = with_folds(listed(7), 3, seed=0)
    held_out = [[case.name for case in parted.folded(fold).split("validation")] for fold in range(3)]
    assert sorted(map(len, held_out)) == [2, 2, 3]
    assert sorted(name for part in held_out for name in part) == [f"c{n}" for n in range(7)]
    assert all({"bare"} <= {case.name for case in parted.folded(fold).split("training")} for fold in range(3))
    assert [case.name for case in parted.folded(0).split("test")] == ["t"]
    assert with_folds(listed(7), 3, seed=0) == parted
    assert with_folds(listed(7), 3, seed=1) != parted


def test_folds_and_a_training_s_first_window_are_drawn_from_other_numbers() -> None:
    fold_of = {case.name: case.fold for case in with_folds(listed(9), 9, seed=4).cases}
    order = sorted(range(9), key=lambda number: fold_of[f"c{number}"] or 0)
    assert order != np.random.default_rng((4, 0, 0)).permutation(9).tolist()


def of_patients(listed: DataList, patients: str) -> DataList:
    """Say whose the first cases are, a letter each; a dash does not tell."""
    told = [None if patient == "-" else patient for patient in patients]
    cases = [replace(case, patient=patient) for case, patient in zip(listed.cases, told, strict=False)]
    return replace(listed, cases=(*cases, *listed.cases[len(cases) :]))


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_in_two_folds_and_folds_are_as_even_as_patients_allow(seed: int) -> None:
    several = of_patients(listed(10), "aaaabb-cc-")
    parted = with_folds(several, 3, seed=seed)
    held_out = [parted.folded(fold) for fold in range(3)]
    for part in held_out:
        own, others = ({case.person for case in part.split(s)} for s in ("validation", "training"))
        assert not own & others
    assert sorted(len(part.split("validation")) for part in held_out) == [3, 3, 4]


def test_a_patient_in_two_stated_folds_or_in_two_splits_is_refused() -> None:
    torn = of_patients(listed(4, {0: 0, 1: 1, 2: 1, 3: 0}), "aa")
    with pytest.raises(UsageError, match=r"c0 \(validation\), c1 \(training\)"):
        torn.folded(0)
    whole = of_patients(listed(4, {0: 0, 1: 0, 2: 1, 3: 1}), "aabb")
    assert len(whole.folded(0).split("validation")) == 2
    tested = replace(whole, cases=tuple(replace(c, patient="a") if c.name == "t" else c for c in whole.cases))
    with pytest.raises(UsageError, match=r"t \(test\)"):
        tested.require_whole_patients()


def test_folds_that_a_list_states_are_kept() -> None:
    stated = listed(4, {0: 1, 1: 0, 2: 1, 3: 0})
    assert with_folds(stated, 2, seed=0) is stated
    assert stated_folds(stated) == (0, 1)
    from_one = listed(4, {0: 1, 1: 2, 2: 1, 3: 2})
    assert with_folds(from_one, 2, seed=0) is from_one
    for wrong in (stated, listed(4, {0: 1})):
        with pytest.raises(UsageError, match="folds that few"):
            with_folds(wrong, 3, seed=0)
    with pytest.raises(UsageError, match="cases without one"):
        with_folds(listed(4, {0: 0, 1: 1}), 3, seed=0)


def test_one_fold_alone_holds_nothing_apart_and_ours_are_drawn() -> None:
    found = with_folds(listed(4, dict.fromkeys(range(4), 0)), 2, seed=0)
    assert {case.fold for case in found.split("training") if case.is_labelled} == {0, 1}


def test_a_curve_is_read_from_the_metrics() -> None:
    records: list[dict[str, Any]] = [
        {"step": 0, "event": "started"},
        {"step": 0, "event": "validated", "by_case": {"a": {"x": 0.1, "y": 0.3}}},
        {"step": 4, "loss": 0.5},
        {"step": 4, "event": "validated", "by_case": {"a": {"x": 0.5, "y": 0.7}}},
    ]
    found = Curve.of(records)
    assert found.steps == (0, 4)
    assert mean_dice(found.at(0)) == pytest.approx(0.2)
    assert mean_dice(found.at(3)) == pytest.approx(0.2)
    assert mean_dice(found.at(99)) == pytest.approx(0.6)


def test_the_mean_is_over_classes_first() -> None:
    assert mean_dice({"a": {"x": 0.0, "y": 1.0}, "b": {"x": 0.5}}) == pytest.approx((0.25 + 1.0) / 2)


def test_the_step_is_the_best_of_the_mean_curve_and_never_the_beginning() -> None:
    one = curve((0, 0.9), (5, 0.2), (10, 0.8), (15, 0.7))
    other = curve((0, 0.9), (5, 0.5), (10, 0.5), (15, 0.5))
    assert best_step([one, other]) == 10
    assert best_step([curve((0, 0.9), (5, 0.1), (10, 0.1))]) == 5


def test_a_fold_is_judged_at_the_step_that_the_others_choose() -> None:
    early = curve((0, 0.0), (5, 0.9), (10, 0.1), case="a")
    late = curve((0, 0.0), (5, 0.2), (10, 0.8), case="b")
    assert unchosen_scores([early, late]) == {"a": {"x": 0.1}, "b": {"x": 0.2}}
