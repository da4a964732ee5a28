"""What a training of volumes or of slices will take: a few steps of its course, which nothing is kept of."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vesalius.data.cache import Cache
from vesalius.engine.forecast import Costs, costs_of, unvalidated
from vesalius.engine.learner import Learner
from vesalius.engine.task import Validation
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.training.course import Course, task_of
from vesalius.training.slice_course import SliceCourse


def measured_costs(
    course: Course,
    cache: Cache,
    *,
    judge: Callable[[Promptable], Validation] | None,
    answer: Callable[[Promptable], Validation] | None = None,
    device: str,
    workers: int,
    processes: int = 1,
) -> Costs:
    """Take a few steps of a course that nothing is kept of, and validate one case.

    Args:
        course: Whose steps to take; its cases are prepared, if they are not.
        cache: Where prepared cases are kept.
        judge: Validates one case.
        answer: The same by names alone, where ``judge`` also clicks.
        device: Where the network is.
        workers: Samples worked on at once.
        processes: That will share the samples of a step. What they tell one another is not measured.

    Raises:
        InterruptedRun: If it was asked to stop; nothing was begun.
    """
    loop = unvalidated(course.recipe.loop, processes=processes)
    task = task_of(replace(course, recipe=replace(course.recipe, loop=loop)), cache, workers=workers)
    network = course.beginning.network(seed=loop.seed).to(device)
    learner = Learner(network, course.optimisation())
    return costs_of(task, learner, loop, judge=judge, answer=answer, device=device, workers=workers)


def measured_slice_costs(
    course: SliceCourse,
    cache: Cache,
    *,
    judge: Callable[[MedDino], Validation] | None,
    device: str,
    workers: int,
    processes: int = 1,
) -> Costs:
    """Do the same with a course of slices; all as in ``measured_costs``."""
    loop = unvalidated(course.recipe.loop, processes=processes)
    course = replace(course, recipe=replace(course.recipe, loop=loop))
    task, learner = course.task(cache, workers=workers), course.learner(device)
    return costs_of(task, learner, loop, judge=judge, device=device, workers=workers)
