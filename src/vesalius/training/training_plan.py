"""What a training says before it begins: what it learns from and how, how long it will take, and what memory."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList
from vesalius.data.prepare import learnt_cases
from vesalius.data.shared_scans import require_apart
from vesalius.engine.forecast import Costs, length_s, totals
from vesalius.engine.loop import require_windows
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.spec import ModelSpec
from vesalius.training.course import Course
from vesalius.training.forecast import measured_costs, measured_slice_costs
from vesalius.training.slice_course import SliceCourse

_FROZEN = "all learns but the backbone, beside adapters"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What is to be trained, and what a few steps of it took.

    Args:
        source: What it begins with.
        lists: What it learns from.
        kinds: Of prompts: names, clicks or both.
        learns: Which parts of the network do.
        spec: What the model expects.
        batch: Windows of a sample.
        loop: How long, and with how many samples a step.
        validated: Cases of each validation.
        costs: As measured; of a validation of one case.
        processes: That share the samples of a step.
    """

    source: str
    lists: Sequence[DataList]
    kinds: str
    learns: str
    spec: ModelSpec
    batch: int
    loop: LoopSettings
    validated: int
    costs: Costs
    processes: int = 1

    def lines(self) -> Iterator[str]:
        """Yield the plan, a line for each thing that a user may want otherwise."""
        yield f"begins with {self.source}"
        yield f"learns from {', '.join(_cases(one, self.spec) for one in self.lists)}, by {self.kinds}"
        yield self.learns
        samples = f"{self.loop.windows} samples a step" if self.loop.windows > 1 else "one sample a step"
        each = "one window" if self.batch == 1 else f"{self.batch} windows"
        yield f"{samples}, each of {each} of {view_words(self.spec)}, in {self.loop.precision}"
        seconds = length_s(self.loop, self.costs, validated=self.validated)
        yield f"{self._steps(seconds)}, {self.costs.step_s:.2f} s a step as measured{self._validations()}"
        total = totals(seconds, 0.0, peak_bytes=self.costs.peak_bytes, card_bytes=self.costs.card_bytes)
        alone = f" for each of {self.processes} processes, measured in one alone" if self.processes > 1 else ""
        yield total + alone

    def _steps(self, seconds: float) -> str:
        steps = self.loop.ends_at or self.loop.steps
        if steps is None:
            return f"at most {seconds / self.costs.step_s:.0f} steps"
        return f"{steps} steps" if self.loop.patience is None else f"at most {steps} steps"

    def _validations(self) -> str:
        if self.loop.validate_every is None:
            return ""
        cases = f"{self.validated} case{'' if self.validated == 1 else 's'}"
        return f"; {cases} validated every {self.loop.validate_every}, {self.costs.validation_s:.1f} s a case"


def plan_of(course: Course, cache: Cache, *, device: str, workers: int = 1, processes: int = 1) -> TrainingPlan:
    """Measure a few steps of a training of volumes; of it only prepared cases are kept.

    Args:
        course: What is to be trained.
        cache: Where prepared cases are kept.
        device: Where the network is.
        workers: Samples worked on at once.
        processes: That will share the samples of a step. What they tell one another, and how they share the
            machine, is not measured.

    Raises:
        UsageError: If the training would be refused.
        InterruptedRun: If it was asked to stop.
        VesaliusError: Whatever preparing may raise.
    """
    recipe, judged = course.recipe, course.validation_cases()
    require_windows(recipe.loop, processes)
    require_apart(course.used(), cache)
    some = tuple(cases[:1] for cases in judged)  # one of each list that has any
    costs = measured_costs(
        course,
        cache,
        judge=course.judge(*some) if any(some) else None,
        device=device,
        workers=workers,
        processes=processes,
    )
    names, clicks = recipe.drop_label < 1, recipe.teaches_clicks
    return TrainingPlan(
        source=course.beginning.source,
        lists=course.learnt,
        kinds="names and clicks" if names and clicks else "names" if names else "clicks",
        learns=what_learns(course.optimisation()),
        spec=course.spec,
        batch=recipe.batch,
        loop=recipe.loop,
        validated=sum(map(len, judged)),
        costs=replace(costs, validation_s=costs.validation_s / max(sum(map(len, some)), 1)),
        processes=processes,
    )


def slice_plan_of(
    course: SliceCourse, cache: Cache, *, device: str, workers: int = 1, processes: int = 1
) -> TrainingPlan:
    """Do the same with a training of slices; all as in ``plan_of``."""
    recipe, judged = course.recipe, course.validation_cases()
    require_windows(recipe.loop, processes)
    costs = measured_slice_costs(
        course,
        cache,
        judge=course.judge(judged[:1]) if judged else None,
        device=device,
        workers=workers,
        processes=processes,
    )
    return TrainingPlan(
        source=course.beginning.source,
        lists=(course.learnt,),
        kinds="names",
        learns=_FROZEN if recipe.adapters else what_learns(course.optimisation()),
        spec=course.beginning.spec,
        batch=recipe.batch,
        loop=recipe.loop,
        validated=len(judged),
        costs=costs,
        processes=processes,
    )


def what_learns(optimisation: Optimisation) -> str:
    """Say which parts of a network do not learn."""
    still = [part.names.removesuffix("*").removesuffix(".") for part in optimisation.parts if part.rate == 0]
    return f"all learns but {', '.join(still)}" if still else "the whole network learns"


def view_words(spec: ModelSpec) -> str:
    """Say how much of a volume, or of a slice, a model sees at once."""
    sides = [(n, mm) for n, mm in zip(spec.window_size, spec.spacing_mm, strict=True) if n > 1 and mm]
    counts, widths = " x ".join(str(n) for n, _ in sides), " x ".join(f"{n * mm:.0f}" for n, mm in sides)
    apart = [f"{mm:.3g}" for _, mm in sides]
    voxel = " x ".join(apart[:1] if len(set(apart)) == 1 else apart)
    return f"{counts} {'pixels' if len(sides) == 2 else 'voxels'} of {voxel} mm: {widths} mm"


def _cases(listed: DataList, spec: ModelSpec) -> str:
    count = len(learnt_cases(listed, spec))
    return f"{count} case{'' if count == 1 else 's'} of {listed.name}"
