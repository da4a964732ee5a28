"""What a fine-tuning says of a model: only what cases gave that did not choose its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.small_list import SPEC, write_tiny
from training.small_tuning import SHORT, listed
from vesalius.checkpoints.load import load_model
from vesalius.training.finetune import FinetuneOptions, begin, plan_lines
from vesalius.training.finetune.benefit import Benefit
from vesalius.training.finetune.report import state_dice


def benefit(on: str, dice: float, *, chose: bool) -> Benefit:
    tuned = {"a": {"liver": dice}, "b": {"liver": dice}}
    return Benefit(on=on, tuned=tuned, before=tuned, against={"liver": "tiny"}, chose_the_weights=chose)


def test_a_model_states_no_dice_of_cases_that_chose_its_weights(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    flattering, held_out = benefit("validation", 0.8, chose=True), benefit("held out", 0.6, chose=False)
    for nothing in ([], [flattering]):
        state_dice(folder, nothing)
        assert (load_model(folder).spec.dice, load_model(folder).spec.dice_source) == (SPEC.dice, SPEC.dice_source)
    state_dice(folder, [held_out, flattering])
    assert load_model(folder).spec.dice == {"liver": 0.6}
    assert load_model(folder).spec.dice_source.startswith("2 cases, held out")
    state_dice(folder, [held_out, benefit("test cases", 0.5, chose=False)])
    assert load_model(folder).spec.dice == {"liver": 0.5}


@pytest.mark.parametrize(
    ("training", "tested", "said"),
    [
        (2, 0, "one training; too few cases to hold any out, so nothing will say how good it is"),
        (2, 1, "one training; too few cases to hold any out; 1 test case will say how good it is"),
        (4, 0, "one training; no cases are held out, as asked for, so nothing will say how good it is"),
    ],
)
def test_the_plan_says_why_nothing_is_held_out_and_what_judges_then(
    place: Path, training: int, tested: int, said: str
) -> None:
    found = listed(place, training + tested)
    cases = (*found.cases[:training], *(replace(case, split="test") for case in found.cases[training:]))
    tuning = begin(place / "tiny", replace(found, cases=cases), FinetuneOptions(folds=0))
    assert said in list(plan_lines(tuning, SHORT))


def test_memory_of_a_card_is_told_beside_the_machine_s(place: Path) -> None:
    tuning = begin(place / "tiny", listed(place, 2), FinetuneOptions(folds=0))
    here, there = (list(plan_lines(tuning, replace(SHORT, card_bytes=size)))[-1] for size in (0, 5_200_000_000))
    assert "card" not in here
    assert there == f"{here}, 5.2 GB of the card"


def test_the_time_to_measure_is_told_beside_the_whole(place: Path) -> None:
    tuning = begin(place / "tiny", listed(place, 2), FinetuneOptions(folds=0))
    said = list(plan_lines(tuning, replace(SHORT, seconds=1980.0, measuring_s=180.0, peak_bytes=2 * 10**9)))[-1]
    assert said == "about 33 min in all, 3 min of them to measure whether it helped; 2.0 GB at the peak"
