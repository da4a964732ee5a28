"""How long the trainings of a fine-tuning last: minutes become steps by what a few steps took, and stay so.

A run of so many steps can be stopped and resumed to the same weights; one of so many minutes cannot.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

from vesalius.engine.forecast import Costs
from vesalius.training.course_data import labelled_validation
from vesalius.training.finetune.benefit import answers_of
from vesalius.training.finetune.options import FinetuneOptions
from vesalius.training.finetune.tuning import Finetuning

_FEWEST_STEPS, _FEWEST_VALIDATIONS = 10, 2
_FOR_VALIDATIONS = 0.2
"""Largest part of the time that validations may take."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long each training lasts.

    Args:
        steps: Of each; the last one of a cross-validation may take fewer.
        validate_every: Steps between validations, where there are any.
        step_s: Seconds of a step, as measured.
        seconds: What all of it will take, as forecast: trainings, their validations, and the measuring at the end.
        peak_bytes: Resident memory at the peak, as measured over a few steps and a validation.
        card_bytes: The same of a CUDA card; 0 elsewhere.
        measuring_s: Of ``seconds``, to measure whether it helped, which is not in the minutes that were asked for.
    """

    steps: int
    validate_every: int
    step_s: float
    seconds: float
    peak_bytes: int
    card_bytes: int = 0
    measuring_s: float = 0.0


def schedule_of(tuning: Finetuning, costs: Costs, options: FinetuneOptions) -> Schedule:
    """Say how many steps each training takes, so that all of them together take the minutes asked for.

    What is measured after them comes on top: it takes what the list's cases need, whatever was asked for.
    """
    validated = tuning.validated
    trainings = len(tuning.folds) + 1
    held_out = max((len(labelled_validation(course.listed)) for course in validated), default=0)
    once_s = held_out * costs.validation_s
    each_s = 60 * options.minutes / trainings
    validations = options.validations
    if once_s > 0 and options.steps is None:
        validations = min(validations, max(_FEWEST_VALIDATIONS, math.floor(_FOR_VALIDATIONS * each_s / once_s) - 1))
    judging_s = (validations + 1) * once_s
    steps = options.steps or max(_FEWEST_STEPS, math.floor((each_s - judging_s) / costs.step_s))
    measuring_s = answers_of(tuning) * costs.answer_s
    seconds = trainings * steps * costs.step_s + len(validated) * judging_s + measuring_s
    return Schedule(
        steps=steps,
        validate_every=max(1, math.ceil(steps / validations)),
        step_s=costs.step_s,
        seconds=seconds,
        peak_bytes=costs.peak_bytes,
        card_bytes=costs.card_bytes,
        measuring_s=measuring_s,
    )
