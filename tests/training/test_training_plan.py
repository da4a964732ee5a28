"""The plan of a training: what it says is the training's, and what would be refused is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from training.small_case import recipe
from training.small_list import SPEC, write_list, write_tiny
from training.small_slices import BACKBONE, write_backbone
from training.small_slices import recipe as slice_recipe
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.forecast import Costs
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.spec import Lora
from vesalius.training import training_plan
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course
from vesalius.training.slice_course import SliceBeginning, SliceCourse
from vesalius.training.slice_recipes import MEDDINOV3_LINEAR
from vesalius.training.training_plan import TrainingPlan, plan_of, slice_plan_of, view_words

COSTS = Costs(step_s=2.0, validation_s=6.0, peak_bytes=2 * 10**9)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Nothing is measured; for each that would be, processes and the cases that would be validated."""
    asked: list[tuple[int, tuple[str, ...]]] = []

    def costs(course: object, cache: Cache, *, judge: object, processes: int, **_: object) -> Costs:
        cases = () if judge is None else (*judge.cases, *(case for _, some in judge.others for case in some))  # type: ignore[attr-defined]
        asked.append((processes, tuple(case.name for case in cases)))
        return COSTS

    monkeypatch.setattr(training_plan, "measured_costs", costs)
    monkeypatch.setattr(training_plan, "measured_slice_costs", costs)
    return asked


def course(folder: Path, *, others: int = 0, **changes: object) -> Course:
    loop = LoopSettings(**{"steps": 40, "windows": 2, "precision": "fp32", **changes})  # type: ignore[arg-type]
    chosen = recipe(shares={}, loop=loop)
    lists = []
    for number in range(1 + others):
        path = write_list(folder / str(number), validation=2, seed=10 * number)
        content = {**json.loads(path.read_text()), "name": f"list {number}"}
        shutil.copy(path.with_name("image-0.nii.gz"), path.with_name("unlabelled.nii.gz"))
        content["training"].append({"image": "unlabelled.nii.gz"})
        path.write_text(json.dumps(content))
        lists.append(read_list(path))
    beginning = Beginning.of(write_tiny(folder / "tiny"), chosen)
    return Course(recipe=chosen, beginning=beginning, listed=lists[0], others=tuple(lists[1:]))


def lines(plan: TrainingPlan) -> list[str]:
    return list(plan.lines())


def test_every_list_is_named_with_what_is_learnt_from_and_one_case_of_each_is_validated(
    tmp_path: Path, measured: list[tuple[int, tuple[str, ...]]]
) -> None:
    one = course(tmp_path, others=1, validate_every=10)
    source, learnt, learns, step, length, total = lines(plan_of(one, Cache(tmp_path / "cache"), device="cpu"))
    assert source.startswith("begins with tiny, SHA-256 ")
    assert learnt == "learns from 2 cases of list 0, 2 cases of list 1, by names"
    assert learns == "the whole network learns"
    assert step == "2 samples a step, each of one window of 16 x 16 x 16 voxels of 4 mm: 64 x 64 x 64 mm, in fp32"
    assert length == "40 steps, 2.00 s a step as measured; 4 cases validated every 10, 3.0 s a case"
    assert total == "about 2 min in all; 2.0 GB at the peak"  # 40 steps of 2 s and five validations of four cases
    assert [(processes, len(cases)) for processes, cases in measured] == [(1, 2)]


def test_steps_that_may_be_fewer_are_so_many_at_most(
    tmp_path: Path, measured: list[tuple[int, tuple[str, ...]]]
) -> None:
    cache = Cache(tmp_path / "cache")
    for changes, words in (
        ({"validate_every": 10, "patience": 2}, "at most 40 steps, "),
        ({"steps": None, "minutes": 1.0}, "at most 30 steps, "),
        ({"ends_at": 7}, "7 steps, "),
    ):
        assert lines(plan_of(course(tmp_path, **changes), cache, device="cpu"))[4].startswith(words)


def test_of_several_processes_it_is_said_that_one_was_measured(
    tmp_path: Path, measured: list[tuple[int, tuple[str, ...]]]
) -> None:
    plan = plan_of(course(tmp_path), Cache(tmp_path / "cache"), device="cpu", processes=2)
    assert lines(plan)[-1].endswith("2.0 GB at the peak for each of 2 processes, measured in one alone")
    assert measured == [(2, ())]


def test_what_the_training_would_refuse_is_refused(
    tmp_path: Path, measured: list[tuple[int, tuple[str, ...]]]
) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UsageError, match="2 windows, 3 processes"):
        plan_of(course(tmp_path / "few"), cache, device="cpu", processes=3)
    both = course(tmp_path / "both", others=1, validate_every=10)
    for kind in ("image", "label"):  # one is learnt from in the second list and judges in the first
        shutil.copy(tmp_path / "both" / "0" / f"{kind}-2.nii.gz", tmp_path / "both" / "1" / f"{kind}-0.nii.gz")
    with pytest.raises(UsageError, match="same voxels"):
        plan_of(both, cache, device="cpu")
    assert not measured


def test_of_slices_it_says_the_view_and_what_of_the_backbone_learns(
    tmp_path: Path, measured: list[tuple[int, tuple[str, ...]]]
) -> None:
    backbone, listed = write_backbone(tmp_path / "backbone"), read_list(write_list(tmp_path / "data"))
    whole = slice_recipe(loop=LoopSettings(steps=3, precision="fp32"))
    for chosen, learns in (
        (whole, "the whole network learns"),
        (replace(whole, adapters=(Lora(rank=2),)), "all learns but the backbone, beside adapters"),
        (replace(whole, encoder_rate=MEDDINOV3_LINEAR.encoder_rate), "all learns but encoder"),
    ):
        beginning = SliceBeginning.of(backbone, chosen, listed)
        sliced = SliceCourse(recipe=chosen, beginning=beginning, listed=listed)
        said = lines(slice_plan_of(sliced, Cache(tmp_path / "cache"), device="cpu"))
        assert said[2].startswith(learns)
        assert "one sample a step, each of 2 windows of 16 x 16 pixels of 4 mm: 64 x 64 mm" in said[3]
        assert said[4] == "3 steps, 2.00 s a step as measured"


def test_a_view_is_told_by_its_voxels_and_its_millimetres() -> None:
    assert view_words(SPEC) == "16 x 16 x 16 voxels of 4 mm: 64 x 64 x 64 mm"
    flat = replace(BACKBONE, spacing_mm=(0.5, 2.0, 3.0), window_size=(64, 32, 1))
    assert view_words(flat) == "64 x 32 pixels of 0.5 x 2 mm: 32 x 64 mm"
