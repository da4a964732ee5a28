"""What a training says before it begins: what it learns from and how, how long it will take, and what memory."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList
from vesalius.engine.settings import LoopSettings
from vesalius.spec import ModelSpec
from vesalius.training.course import Course
from vesalius.training.forecast import Costs, length_s, measured_costs, measured_slice_costs, totals
from vesalius.training.slice_course import SliceCourse


def plan_of(
    course: Course | SliceCourse, cache: Cache, *, device: str, workers: int = 1, processes: int = 1
) -> Iterator[str]:
    """Measure a few steps of a training, and yield what it will be; only prepared cases are kept.

    Args:
        course: What is to be trained.
        cache: Where prepared cases are kept.
        device: Where the network is.
        workers: Samples worked on at once.
        processes: That will share the samples of a step. What they tell one another is not measured.

    Raises:
        InterruptedRun: If it was asked to stop.
        VesaliusError: Whatever preparing may raise.
    """
    if isinstance(course, Course):
        judged = course.validation_cases()
        some = tuple(cases[:1] for cases in judged)  # one of each list that has any
        costs = measured_costs(
            course,
            cache,
            judge=course.judge(*some) if any(some) else None,
            device=device,
            workers=workers,
            processes=processes,
        )
        kinds = " and ".join(
            word
            for word, is_taught in (
                ("names", course.recipe.drop_label < 1),
                ("clicks", course.recipe.teaches_clicks),
            )
            if is_taught
        )
        lists, spec, once = course.learnt, course.spec, sum(map(len, some))
        still = [part.names.removesuffix(".*") for part in course.optimisation().parts if part.rate == 0]
    else:
        judged, kinds = (course.validation_cases(),), "names"
        judge = course.judge(judged[0][:1]) if judged[0] else None
        costs = measured_slice_costs(
            course, cache, judge=judge, device=device, workers=workers, processes=processes
        )
        lists, spec, once = (course.learnt,), course.beginning.spec, 1
        still = ["the backbone, beside adapters"] if course.recipe.adapters else []
    count = sum(map(len, judged))
    yield f"begins with {course.beginning.source}"
    yield f"learns from {', '.join(map(_cases, lists))}, by {kinds}"
    yield f"all learns but {', '.join(still)}" if still else "the whole network learns"
    yield _windows(spec, course.recipe.batch, course.recipe.loop)
    yield from _length(course.recipe.loop, costs, validated=count, validation_s=costs.validation_s / max(once, 1))


def _cases(listed: DataList) -> str:
    count = len(listed.split("training"))
    return f"{count} case{'' if count == 1 else 's'} of {listed.name}"


def _windows(spec: ModelSpec, batch: int, loop: LoopSettings) -> str:
    size, spacing = (" x ".join(f"{side:g}" for side in sides) for sides in (spec.window_size, spec.spacing_mm))
    together = "" if batch == 1 else f" of {batch} windows"
    return f"{loop.windows} samples a step{together}, windows of {size} voxels of {spacing} mm, in {loop.precision}"


def _length(loop: LoopSettings, costs: Costs, *, validated: int, validation_s: float) -> Iterator[str]:
    each = Costs(step_s=costs.step_s, validation_s=validation_s, peak_bytes=costs.peak_bytes)
    seconds = length_s(loop, each, validated=validated)
    steps = loop.steps or f"at most {seconds / costs.step_s:.0f}"
    often = ""
    if loop.validate_every is not None:
        cases = f"{validated} case{'' if validated == 1 else 's'}"
        often = f"; {cases} validated every {loop.validate_every}, {validation_s:.1f} s a case"
    yield f"{steps} steps, {costs.step_s:.2f} s a step as measured{often}"
    yield totals(seconds, 0.0, peak_bytes=costs.peak_bytes, card_bytes=costs.card_bytes)
