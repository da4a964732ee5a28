"""Fine-tuning: what is chosen for a model and a list, how long it takes, and that a stopped one goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.small_list import GRID, SPEC, write_list, write_tiny
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.engine.run import RunFolder, opened
from vesalius.errors import CheckpointError, InterruptedRun, UnknownClassError, UsageError
from vesalius.geometry.volume import Modality, Volume
from vesalius.inference.segmenter import load
from vesalius.interactive.session import Session
from vesalius.io.formats import read
from vesalius.models.build import build
from vesalius.prompts.types import PointPrompt
from vesalius.spec import VIT_TOY, ModelSpec
from vesalius.training import finetune_trainings
from vesalius.training.benefit import COPIED, benefit_in_folds
from vesalius.training.cross_validation import Curve
from vesalius.training.finetune import Finetuning, begin
from vesalius.training.finetune_options import FinetuneOptions
from vesalius.training.finetune_schedule import PLAN, Schedule, keep_schedule, kept_schedule, schedule_of
from vesalius.training.finetune_trainings import Resources, train_all, train_folds
from vesalius.training.forecast import Costs
from vesalius.training.recipes import FINETUNE, FINETUNE_FAR, finetune_recipe

SHORT = Schedule(steps=2, validate_every=1, step_s=0.1, seconds=1.0, peak_bytes=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    write_tiny(folder / "tiny")
    write_list(folder / "data", training=5, validation=1)
    return folder


def listed(place: Path, training: int = 5, *, validation: bool = False, name: str = "liver") -> DataList:
    found = read_list(place / "data" / "list.json")
    cases = found.split("training")[:training] + (found.split("validation") if validation else ())
    return replace(found, cases=cases, meanings={1: name})


def begun(place: Path, options: FinetuneOptions | None = None, **of_list: object) -> Finetuning:
    return begin(place / "tiny", listed(place, **of_list), options or FinetuneOptions())  # type: ignore[arg-type]


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


def test_all_trainings_together_take_the_minutes_asked_for(place: Path) -> None:
    tuning = begun(place)
    options, costs = FinetuneOptions(minutes=10.0), Costs(step_s=0.5, validation_s=0.25, peak_bytes=10)
    schedule = schedule_of(tuning, costs, options)
    assert schedule.seconds == pytest.approx(600, rel=0.05)
    assert schedule.steps / schedule.validate_every == pytest.approx(options.validations, rel=0.05)
    slow = schedule_of(tuning, replace(costs, validation_s=20.0), options)
    assert slow.validate_every > schedule.validate_every
    assert slow.seconds < 700
    assert schedule_of(tuning, costs, FinetuneOptions(steps=7)).steps == 7
    alone = schedule_of(begun(place, training=1), costs, options)
    assert alone.steps == 1200


def test_a_run_keeps_the_schedule_with_which_it_began(tmp_path: Path) -> None:
    assert kept_schedule(tmp_path / "run") is None
    keep_schedule(tmp_path / "run", SHORT)
    assert kept_schedule(tmp_path / "run") == SHORT
    (tmp_path / "run" / PLAN).write_text("{")
    with pytest.raises(CheckpointError, match="begin a new run"):
        kept_schedule(tmp_path / "run")


def test_an_interrupted_fold_is_gone_on_with_and_a_finished_one_is_not_done_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, resources = begun(place, FinetuneOptions(folds=2)), Resources(cache=Cache(place / "cache"))
    options, said = FinetuneOptions(folds=2), []
    carried_out = finetune_trainings._carry_out

    def stopped(course: object, folder: Path, resources: Resources) -> None:
        if folder.name == "1":
            raise InterruptedRun(expected="to train", got="SIGTERM", do="resume")
        carried_out(course, folder, resources)  # type: ignore[arg-type]

    monkeypatch.setattr(finetune_trainings, "_carry_out", stopped)
    with pytest.raises(InterruptedRun):
        train_folds(tuning, SHORT, options, tmp_path, resources)
    monkeypatch.setattr(finetune_trainings, "_carry_out", carried_out)
    curves = train_folds(tuning, SHORT, options, tmp_path, resources, on_training=said.append)
    assert said == ["fold 2 of 2"]
    assert [curve.steps for curve in curves] == [(0, 1, 2)] * 2
    assert {case for curve in curves for case in curve.scores[0]} == {f"image-{n}" for n in range(5)}
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(UsageError, match=r"recipe\.loop\.steps"):
        train_folds(tuning, replace(SHORT, steps=3), options, tmp_path, resources)


def test_the_model_is_trained_as_the_folds_were_and_stopped_where_they_were_best(
    place: Path, tmp_path: Path
) -> None:
    tuning, resources = begun(place, FinetuneOptions(folds=2)), Resources(cache=Cache(place / "cache"))
    curve = Curve((0, 1, 2, 3), tuple({"image-0": {"liver": dice}} for dice in (0.0, 0.2, 0.5, 0.4)))
    schedule = replace(SHORT, steps=3)
    assert train_all(tuning, schedule, FinetuneOptions(), tmp_path / "run", resources, curves=(curve,)) == 2
    loop = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["loop"]
    assert (loop["steps"], loop["ends_at"], loop["validate_every"]) == (3, 2, None)
    assert RunFolder(tmp_path / "run").metrics()[-1]["step"] == 2


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


def test_a_model_that_takes_clicks_still_takes_them_when_it_was_fine_tuned(place: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, architecture=replace(SPEC.vista, point_branch=True))
    write_model(tmp_path / "clicked", build(spec.vista).state_dict(), spec)
    mr = replace(listed(place, training=1, name="hepatic vein"), modality="MR")
    options, resources = FinetuneOptions(), Resources(cache=Cache(tmp_path / "cache"))
    tuning = begin(tmp_path / "clicked", mr, options)
    train_all(tuning, SHORT, options, tmp_path / "run", resources, curves=())
    segmenter = load(tmp_path / "run")
    assert (segmenter.spec.modality, segmenter.spec.normalisation) == ("MR", "percentiles")
    with Session(segmenter, Volume(read(mr.cases[0].image).data, GRID, "MR")) as session:
        session.add(PointPrompt(voxel=(8.0, 9.0, 8.0), target="hepatic vein"))
        session.predict()
        assert list(session.labels.names.values()) == ["hepatic vein"]
        assert session.mask("hepatic vein").shape == GRID.shape
    with pytest.raises(UnknownClassError):
        Session(segmenter, Volume(read(mr.cases[0].image).data, GRID, "MR")).add(
            PointPrompt(voxel=(0.0, 0.0, 0.0), target="liver")
        )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_model_of_another_modality_is_no_rival_and_the_report_says_so(place: Path, modality: Modality) -> None:
    tuning = begin(place / "tiny", replace(listed(place, 4), modality=modality), FinetuneOptions(folds=2))
    held_out = [{case.name: {"liver": 0.9} for case in fold.listed.split("validation")} for fold in tuning.folds]
    curves = [Curve((0, 1), (scores, scores)) for scores in held_out]
    found = benefit_in_folds(tuning, place / "tiny", curves, device="cpu")
    remark = "tiny was made for CT and is no rival on MR"
    assert dict(found.against) == {"liver": "tiny" if modality == "CT" else COPIED}
    assert found.words().endswith(remark) == (modality == "MR")
    assert found.as_dict()["remark"] == (remark if modality == "MR" else "")


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
