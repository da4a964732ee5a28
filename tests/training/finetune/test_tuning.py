"""A fine-tuning before it begins: what is chosen for a model and a list, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.small_list import SPEC
from training.small_tuning import begun, listed
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.run import opened
from vesalius.errors import CheckpointError, UsageError
from vesalius.models.build import build
from vesalius.spec import VIT_TOY, ModelSpec
from vesalius.training.finetune import FinetuneOptions, begin
from vesalius.training.recipes import FINETUNE, FINETUNE_FAR, finetune_recipe


def test_what_the_network_knows_is_moved_gently_and_what_is_new_is_not(place: Path) -> None:
    known, new = begun(place), begun(place, name="hepatic vein")
    assert known.course.recipe.optimisation.learning_rate == FINETUNE.optimisation.learning_rate
    assert new.course.recipe.optimisation.learning_rate == FINETUNE_FAR.optimisation.learning_rate
    assert new.forgotten == ("liver", "left kidney", "right kidney")


def test_a_network_as_wide_as_vista3d_keeps_the_published_rate_whatever_it_learns() -> None:
    published = 5e-5 / 0.02  # of weights that begin near 0.02
    for is_far in (False, True):
        assert finetune_recipe(48, is_far=is_far).optimisation.learning_rate == pytest.approx(published)
    assert finetune_recipe(16, is_far=True) == FINETUNE_FAR


def test_clicks_are_taught_where_the_model_takes_them_and_only_there(place: Path, tmp_path: Path) -> None:
    without = begun(place).course.recipe
    assert (without.drop_label, without.drop_point) == (0.0, 1.0)
    spec = replace(SPEC, architecture=replace(SPEC.vista, point_branch=True))
    write_model(tmp_path / "clicked", build(spec.vista).state_dict(), spec)
    both = begin(tmp_path / "clicked", listed(place), FinetuneOptions()).course
    assert 0 < both.recipe.drop_label < 1
    assert 0 < both.recipe.drop_point < 1
    assert both.beginning.spec.vista.point_branch


def test_folds_are_made_of_enough_cases_and_not_beside_validation_cases(place: Path) -> None:
    assert [len(begun(place, training=count).folds) for count in (1, 3, 4, 5)] == [0, 0, 3, 3]
    assert begun(place, training=3).validated == ()
    assert begun(place, FinetuneOptions(folds=0)).folds == ()
    judged = begun(place, validation=True)
    assert judged.folds == ()
    assert judged.validated == (judged.course,)
    asked = begun(place, FinetuneOptions(folds=2), validation=True)
    assert len(asked.folds) == 2
    assert len(asked.course.listed.split("training")) == 6
    with pytest.raises(UsageError, match="at most a fold for each"):
        begun(place, FinetuneOptions(folds=3), training=2)


@pytest.mark.parametrize("first", [0, 1])
def test_folds_that_a_list_states_are_taken_where_no_number_is_asked_for(place: Path, first: int) -> None:
    found = listed(place)
    cases = tuple(replace(case, fold=first + number % 2) for number, case in enumerate(found.cases))
    tuning = begin(place / "tiny", replace(found, cases=cases), FinetuneOptions())
    held_out = [{case.fold for case in fold.listed.split("validation")} for fold in tuning.folds]
    assert held_out == [{first}, {first + 1}]
    with pytest.raises(UsageError, match="folds that list"):
        begin(place / "tiny", replace(found, cases=cases), FinetuneOptions(folds=3))
    assert begin(place / "tiny", replace(found, cases=cases), FinetuneOptions(folds=0)).folds == ()


def test_patients_are_held_out_and_not_scans(place: Path) -> None:
    found = listed(place)
    two = tuple(replace(case, patient=str(number % 2)) for number, case in enumerate(found.cases))
    assert begin(place / "tiny", replace(found, cases=two), FinetuneOptions()).folds == ()
    tuning = begin(place / "tiny", replace(found, cases=two), FinetuneOptions(folds=2))
    assert sorted(len(fold.listed.split("validation")) for fold in tuning.folds) == [2, 3]
    with pytest.raises(UsageError, match="at most a fold for each of 2 patients"):
        begin(place / "tiny", replace(found, cases=two), FinetuneOptions(folds=3))
    tested = (replace(two[0], split="test"), *two[1:])
    with pytest.raises(UsageError, match="in one split"):
        begin(place / "tiny", replace(found, cases=tested), FinetuneOptions(folds=0))


def test_no_held_out_case_is_learnt_from(place: Path) -> None:
    tuning = begun(place)
    held_out = [{case.name for case in fold.listed.split("validation")} for fold in tuning.folds]
    for own, fold in zip(held_out, tuning.folds, strict=True):
        assert not own & {case.name for case in fold.listed.split("training")}
    assert set().union(*held_out) == {case.name for case in tuning.course.listed.split("training")}


def test_a_frozen_encoder_stays_as_it_is(place: Path) -> None:
    parts = begun(place, FinetuneOptions(freeze="encoder")).course.optimisation().parts
    assert [(part.names, part.rate) for part in parts] == [("encoder.*", 0.0)]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (FinetuneOptions(like={"hepatic vein": "liver"}), r"beginning\.rows\.hepatic vein drawn -> liver"),
        (FinetuneOptions(keep_names=True), r"beginning\.names\.2 None -> left kidney"),
    ],
)
def test_a_run_is_not_resumed_from_another_beginning(
    place: Path, tmp_path: Path, other: FinetuneOptions, what: str
) -> None:
    cache = Cache(place / "cache")

    def config(options: FinetuneOptions) -> dict[str, Any]:
        return begun(place, options, training=1, name="hepatic vein").course.config(cache)

    for _ in range(2):
        with opened(tmp_path, config(FinetuneOptions())):
            pass
    with pytest.raises(UsageError, match=what), opened(tmp_path, config(other)):
        pass


def test_what_cannot_be_fine_tuned_is_refused(place: Path, tmp_path: Path) -> None:
    spec = ModelSpec(name="bare", architecture=VIT_TOY, window_size=(64, 64, 1), normalisation="fixed")
    write_model(tmp_path / "bare", build(VIT_TOY).state_dict(), spec)
    with pytest.raises(CheckpointError, match="bare, a vit"):
        begin(tmp_path / "bare", listed(place), FinetuneOptions())
    content = json.loads((place / "data" / "list.json").read_text())
    unlabelled = [{"image": entry["image"]} for entry in content["training"]]
    (place / "data" / "bare.json").write_text(json.dumps({**content, "training": unlabelled, "validation": []}))
    with pytest.raises(UsageError, match="labelled cases for training"):
        begin(place / "tiny", read_list(place / "data" / "bare.json"), FinetuneOptions())
