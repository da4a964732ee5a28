"""What a pretraining will take, measured from a few of its steps before it begins."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vesalius.engine.forecast import Costs, costs_of, length_s, totals, unvalidated
from vesalius.engine.loop import require_windows
from vesalius.pretraining.course import PretrainingCourse


def measured_costs(
    course: PretrainingCourse, *, device: str = "cpu", workers: int = 1, processes: int = 1
) -> Costs:
    """Take a few steps of a pretraining with views of each size that it has, and validate once; nothing is kept.

    A step is as long as those of all sizes in the mean, by how often they come; memory is that of the hungriest.

    Args:
        course: What is to be done.
        device: Where the networks are.
        workers: Threads.
        processes: That will share the samples of a step. What they tell one another, how they share the machine,
            and that the moments may be divided, is not measured; nor is the first check of the store.

    Raises:
        InterruptedRun: If it was asked to stop; nothing was begun.
        UsageError: If the pretraining would be refused.
        VesaliusError: Whatever reading may raise.
    """
    recipe = course.recipe
    require_windows(recipe.loop, processes)
    shares = [one.share for one in recipe.resolutions]
    measured: list[Costs] = []
    for resolution in recipe.resolutions:
        one_size = replace(course, recipe=replace(recipe, resolutions=(resolution,)))
        task = one_size.task(device)
        validates = recipe.loop.validate_every is not None and not measured
        costs = costs_of(
            task,
            one_size.learner(device),
            unvalidated(recipe.loop, processes=processes),
            judge=task.validate if validates else None,
            device=device,
            workers=workers,
        )
        measured.append(costs)
    return Costs(
        step_s=sum(share * costs.step_s for share, costs in zip(shares, measured, strict=True)) / sum(shares),
        validation_s=measured[0].validation_s,
        peak_bytes=max(costs.peak_bytes for costs in measured),
        card_bytes=max(costs.card_bytes for costs in measured),
    )


def plan_lines(course: PretrainingCourse, costs: Costs, *, processes: int = 1) -> Iterator[str]:
    """Yield what was measured, and what all of the pretraining will take by it.

    Args:
        course: What is to be done.
        costs: As measured.
        processes: That will share the samples of a step.
    """
    loop = course.recipe.loop
    validates = loop.validate_every is not None
    judging = f", {costs.validation_s:.1f} s a validation, every {loop.validate_every} steps" if validates else ""
    yield f"{costs.step_s:.2f} s a step as measured{judging}"
    seconds = length_s(loop, costs, validated=int(validates))
    alone = f" for each of {processes} processes, measured in one alone" if processes > 1 else ""
    yield totals(seconds, 0.0, peak_bytes=costs.peak_bytes, card_bytes=costs.card_bytes) + alone
