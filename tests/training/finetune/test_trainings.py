"""The trainings: a stopped one goes on, the last is one of the folds' kind, and what it makes can be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.small_list import GRID, SPEC
from training.small_tuning import SHORT, begun, listed
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.cache import Cache
from vesalius.engine.forecast import Costs
from vesalius.engine.run import RunFolder
from vesalius.errors import InterruptedRun, UnknownClassError, UsageError
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import load
from vesalius.interactive.session import Session
from vesalius.io.formats import read
from vesalius.models.build import build
from vesalius.prompts.types import PointPrompt
from vesalius.training.cross_validation import Curve
from vesalius.training.finetune import FinetuneOptions, Resources, begin, train_all, train_folds, trainings
from vesalius.training.validation import WholeScans


def test_an_interrupted_fold_is_gone_on_with_and_a_finished_one_is_not_done_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, resources = begun(place, FinetuneOptions(folds=2)), Resources(cache=Cache(place / "cache"))
    said: list[str] = []
    carried_out = trainings._carry_out

    def stopped(course: object, folder: Path, resources: Resources) -> None:
        if folder.name == "1":
            raise InterruptedRun(expected="to train", got="SIGTERM", do="resume")
        carried_out(course, folder, resources)  # type: ignore[arg-type]

    monkeypatch.setattr(trainings, "_carry_out", stopped)
    with pytest.raises(InterruptedRun):
        train_folds(tuning, SHORT, tmp_path, resources)
    monkeypatch.setattr(trainings, "_carry_out", carried_out)
    curves = train_folds(tuning, SHORT, tmp_path, resources, on_training=said.append)
    assert said == ["fold 2 of 2"]
    assert [curve.steps for curve in curves] == [(0, 1, 2)] * 2
    assert {case for curve in curves for case in curve.scores[0]} == {f"image-{n}" for n in range(5)}
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(UsageError, match=r"recipe\.loop\.steps"):
        train_folds(tuning, replace(SHORT, steps=3), tmp_path, resources)


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


def test_a_test_case_is_measured_for_the_forecast_where_none_is_validated(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[tuple[str, ...]] = []

    def noted(*_: object, judge: WholeScans | None, answer: WholeScans | None, **__: object) -> Costs:
        judged.append(() if judge is None else tuple(case.name for case in judge.cases))
        assert answer is None, "the model takes no clicks"
        return Costs(step_s=1.0, validation_s=1.0, peak_bytes=1)

    monkeypatch.setattr(trainings, "measured_costs", noted)
    few = listed(place, 3)
    tested = replace(few, cases=(*few.cases[:2], replace(few.cases[2], split="test")))
    for one in (few, tested, listed(place, 1, validation=True)):
        trainings.measure(begin(place / "tiny", one, FinetuneOptions()), Resources(cache=Cache(place / "cache")))
    assert judged == [(), ("image-2",), ("image-5",)]
