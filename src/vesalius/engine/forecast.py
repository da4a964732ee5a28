"""Forecast: what a training will take, measured from a few of its steps before it begins."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from vesalius.allowance import peak_resident_bytes
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Task, Taught, Validation
from vesalius.errors import InterruptedRun

Trained = TypeVar("Trained", bound=nn.Module)
Sample = TypeVar("Sample")
Lesson = TypeVar("Lesson")

_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured.

    Args:
        step_s: Seconds of one step, the mean of three after one that is not counted.
        validation_s: Seconds of the validation that was asked for: of one case, or of a whole one of a
            pretraining; 0 where none was.
        peak_bytes: Largest resident memory of the process so far, which has now learnt and validated, and prepared
            what there is to prepare.
        card_bytes: Most that these steps and the validation held on a CUDA card at once; 0 elsewhere. No card was
            at hand to try it.
        answer_s: Seconds to segment one case by names and measure that, which is not all of a validation where
            clicks are learnt; 0 where no case is validated.
    """

    step_s: float
    validation_s: float
    peak_bytes: int
    card_bytes: int = 0
    answer_s: float = 0.0


def unvalidated(loop: LoopSettings, *, processes: int = 1) -> LoopSettings:
    """Return the settings of a training of which only steps are of interest, and of them what one process does."""
    windows = math.ceil(loop.windows / processes)
    return replace(loop, steps=1, minutes=None, ends_at=None, windows=windows, validate_every=None, patience=None)


def length_s(loop: LoopSettings, costs: Costs, *, validated: int = 0) -> float:
    """Return the seconds of a training as measured.

    Args:
        loop: Its settings; of minutes they are all there is, validations included.
        costs: As measured.
        validated: How often what was measured as a validation stands in each: its cases; once, of a pretraining.
    """
    if loop.minutes is not None:
        return 60 * loop.minutes
    steps = loop.ends_at or loop.steps or 0
    every = loop.validate_every
    validations = 0 if every is None else math.ceil(steps / every) + 1
    return steps * costs.step_s + validations * validated * costs.validation_s


def totals(seconds: float, measuring_s: float, *, peak_bytes: int, card_bytes: int) -> str:
    """Say what all of it will take.

    Args:
        seconds: In all.
        measuring_s: Of these, after the trainings.
        peak_bytes: Resident memory.
        card_bytes: Of a CUDA card; 0 elsewhere.
    """
    measuring = f", {_duration(measuring_s)} of them to measure whether it helped" if measuring_s else ""
    on_card = f", {card_bytes / 1e9:.1f} GB of the card" if card_bytes else ""
    return f"about {_duration(seconds)} in all{measuring}; {peak_bytes / 1e9:.1f} GB at the peak{on_card}"


def costs_of(
    task: Task[Trained, Sample] | Taught[Trained, Sample, Lesson],
    learner: Learner[Trained],
    loop: LoopSettings,
    *,
    judge: Callable[[Trained], Validation] | None,
    answer: Callable[[Trained], Validation] | None = None,
    device: str,
    workers: int,
) -> Costs:
    """Take a few steps, and validate once.

    Args:
        task: What is learnt.
        learner: Takes the steps, and is of no use afterwards.
        loop: ``unvalidated``.
        judge: Validates: one case, or all of a pretraining.
        answer: The same by names alone, where ``judge`` also clicks.
        device: Where the network is.
        workers: Samples worked on at once.

    Raises:
        InterruptedRun: If it was asked to stop; nothing was begun.
    """
    nowhere = RunFolder(Path("nowhere"), writes=False)
    is_card = torch.device(device).type == "cuda"
    if is_card:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        train(task, learner, nowhere, loop, workers=workers)
        begun = time.perf_counter()
        train(task, learner, nowhere, replace(loop, steps=1 + _STEPS), workers=workers)
    except InterruptedRun as error:  # which says that something was saved
        raise InterruptedRun(
            expected="to measure a few steps, to forecast the training",
            got="a request to stop; the training was not begun",
            do="run the same command again; what was prepared is kept",
        ) from error
    step_s = (time.perf_counter() - begun) / _STEPS
    validation_s = _seconds_of(judge, learner.average)
    answer_s = _seconds_of(answer, learner.average) if answer else validation_s
    card_bytes = torch.cuda.max_memory_allocated(device) if is_card else 0
    return Costs(
        step_s=step_s,
        validation_s=validation_s,
        peak_bytes=peak_resident_bytes(),
        card_bytes=card_bytes,
        answer_s=answer_s,
    )


@torch.no_grad()
def _seconds_of(judge: Callable[[Trained], Validation] | None, network: Trained) -> float:
    begun = time.perf_counter()
    if judge is None:
        return 0.0
    judge(network)
    return time.perf_counter() - begun


def _duration(seconds: float) -> str:
    if seconds >= 36 * 3600:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
