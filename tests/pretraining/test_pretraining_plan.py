"""A pretraining's plan: each size of views is timed, the beginning stays as it was, and sums are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.line_task import same
from pretraining.small_store import recipe, write_store
from pretraining.test_course import course
from vesalius.data.slices import SliceStore
from vesalius.engine.forecast import Costs
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.pretraining import pretraining_plan
from vesalius.pretraining.pretraining_plan import measured_costs, plan_lines
from vesalius.pretraining.settings import Resolution
from vesalius.pretraining.task import PretrainingTask

SIZES = (Resolution(global_size=32, local_size=16, share=3.0), Resolution(global_size=48, local_size=16, share=1.0))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    return write_store(tmp_path_factory.mktemp("store"))


def test_steps_are_taken_and_one_validation_and_nothing_of_them_is_kept(
    store: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    judged = []
    validate = PretrainingTask.validate
    monkeypatch.setattr(PretrainingTask, "validate", lambda *args: judged.append(args) or validate(*args))
    chosen = course(store, recipe(loop=replace(recipe().loop, steps=4, validate_every=2)))
    before = chosen.beginning.pupil(chosen.recipe).state_dict()
    costs = measured_costs(chosen)
    assert costs.step_s > 0
    assert costs.validation_s > 0
    assert costs.peak_bytes > 50e6
    assert len(judged) == 1
    assert not list(tmp_path.iterdir())
    assert same(dict(chosen.beginning.pupil(chosen.recipe).state_dict()), dict(before))


def test_a_step_is_the_mean_over_the_sizes_of_views_and_memory_that_of_the_hungriest(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[Resolution, ...], LoopSettings, bool]] = []

    def costs_of(task: PretrainingTask, learner: object, loop: LoopSettings, *, judge: Any, **_: object) -> Costs:
        asked.append((task._recipe.resolutions, loop, judge is not None))
        return Costs(step_s=(2.0, 10.0)[len(asked) - 1], validation_s=5.0, peak_bytes=(7, 9)[len(asked) - 1])

    monkeypatch.setattr(pretraining_plan, "costs_of", costs_of)
    chosen = course(store, recipe(resolutions=SIZES, loop=replace(recipe().loop, windows=3, validate_every=2)))
    costs = measured_costs(chosen, processes=2)
    assert (costs.step_s, costs.validation_s, costs.peak_bytes) == (4.0, 5.0, 9)
    assert [one for one, _, _ in asked] == [SIZES[:1], SIZES[1:]]
    assert [loop.windows for _, loop, _ in asked] == [2, 2], "what one of two processes does of three"
    assert [is_judged for _, _, is_judged in asked] == [True, False]
    with pytest.raises(UsageError, match="at least one window a step for each process"):
        measured_costs(chosen, processes=4)


def test_what_is_said_counts_steps_and_validations(store: SliceStore) -> None:
    costs = Costs(step_s=20.0, validation_s=50.0, peak_bytes=3 * 10**9)
    judged = course(store, recipe(loop=replace(recipe().loop, steps=4, validate_every=2)))
    assert list(plan_lines(judged, costs, processes=2)) == [
        "20.00 s a step as measured, 50.0 s a validation, every 2 steps",
        "about 4 min in all; 3.0 GB at the peak for each of 2 processes, measured in one alone",
    ]  # 4 steps, and validations before the first, in the middle and at the end: 230 s
    alone = course(store, recipe(loop=replace(recipe().loop, steps=4, validate_every=None)))
    assert list(plan_lines(alone, costs)) == [
        "20.00 s a step as measured",
        "about 80 s in all; 3.0 GB at the peak",
    ]
