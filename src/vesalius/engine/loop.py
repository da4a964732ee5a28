"""The loop: draw, ask, differentiate, step, validate, log, save. It knows no task.

Every sample has a generator of its own, made from (seed, step, window), so a run holds no random state: step 1000
draws the same windows whether or not the run was stopped before it, and however many processes share them. Samples
are worked on at once, each in a thread of its own with one core, and their gradients are added in the order of the
windows: how many threads there are changes the time and nothing else. (On a busy machine one window per core is
three times as fast as one window on several cores, whose threads wait for one another; measured on two cores at
load 6.)
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from vesalius.engine.company import Company
from vesalius.engine.drawing import Seed, all_seeds, drawn_ahead
from vesalius.engine.export import Export
from vesalius.engine.inquiry import Gradients, Inquiry, Numbers, accumulated, mean
from vesalius.engine.interruption import interruption_noticed
from vesalius.engine.learner import Learner
from vesalius.engine.optim import learning_parameters
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings
from vesalius.engine.standing import Standing
from vesalius.engine.task import Outcome, Task, Taught, Validating, Validation
from vesalius.engine.team import ALONE, Team
from vesalius.errors import InterruptedRun, UsageError
from vesalius.precision import Precision, best_precision

Trained = TypeVar("Trained", bound=nn.Module)
Sample = TypeVar("Sample")
Lesson = TypeVar("Lesson")

log = logging.getLogger(__name__)

PATIENCE = 50
"""Steps in a row whose gradients may be infinite or undefined before the training is given up."""


def train(
    task: Task[Trained, Sample] | Taught[Trained, Sample, Lesson],
    learner: Learner[Trained],
    run: RunFolder,
    settings: LoopSettings,
    *,
    workers: int = 1,
    draw_ahead: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    team: Team = ALONE,
    export: Export | None = None,
) -> None:
    """Train until steps, minutes or patience are spent; go on from the run's checkpoint where there is one.

    Args:
        task: Draws samples and says how wrong the network is about them, by itself or with the network's running
            average for a teacher; validates, if the settings ask for it.
        learner: The network, at its start; it holds the result. The best weights are in the run's ``best``.
        run: Where metrics and checkpoints go.
        settings: How long, how many samples a step, and how often to validate.
        workers: Threads. On a processor each works on a sample of its own. Elsewhere, on a GPU, samples pass one by
            one, so that its memory holds the activations of one, and threads draw them before their turn.
        draw_ahead: Samples drawn before their turn, by threads of their own; it changes the time and nothing else.
            None: none on a processor, else as many as two steps look at.
        clock: Seconds.
        team: The processes that train together, each with a learner of the same network and its own ``workers``.
        export: Makes a model of what was learnt with every checkpoint, for others to use. None: nobody does.

    Raises:
        InterruptedRun: If SIGTERM or SIGINT came; the step in hand was finished and saved. It may be the last one:
            then a second call has nothing left to do.
        UsageError: If gradients were infinite or undefined for ``PATIENCE`` steps in a row, the task should
            validate and cannot, or there are more processes than windows.
        CheckpointError: If the run's checkpoint is not one of this learner.
    """
    _check(task, settings, team)
    standing = _resumed(learner, run, team)
    selection, averages = standing.selection, standing.averages
    begun, saved, failed = clock() - standing.trained_s, clock(), 0
    parameters, share = learning_parameters(learner.network), team.share(settings.windows)
    on_processor = parameters[0].device.type == "cpu"
    _say_if_imitated(settings.precision, parameters[0].device.type, team)
    at_once = workers if on_processor else 1
    if draw_ahead is None:
        draw_ahead = 0 if on_processor else 2 * len(share)
    ahead = at_once + 1 if at_once > 1 else 1  # one more, lest all wait for the slowest; a gradient more in memory
    seeds = all_seeds(settings.seed, first_step=learner.step, share=share)
    with (
        interruption_noticed() as interruption,
        _single_threads(at_once) as pool,
        drawn_ahead(partial(_drawn, task), seeds, ahead=draw_ahead, threads=workers) as draw,
    ):
        while True:
            standing.trained_s, requested = _agreed(clock() - begun, interruption.requested, team)
            progress = settings.progress(learner.step, standing.trained_s)
            is_over = progress >= settings.end or selection.in_vain == settings.patience
            is_due = settings.validates_at(learner.step, is_over=is_over) and selection.validated != learner.step
            if is_over and not is_due:
                break
            if requested or failed == PATIENCE:
                _save(standing, run, export)
                raise _interrupted(requested, run) if requested else _diverged(run)
            if is_due:
                _validate(task, standing, run, team)
            else:
                rate = learner.rate_factor(progress)
                now = [(settings.seed, learner.step, window) for window in share]
                company = Company(pool, team, settings.precision, parameters[0].device.type)
                look = _Look(task.weights(rate), settings.precision, progress, ahead)
                norm, numbers = _stepped(
                    task, learner, draw, now, company, look=look, windows=settings.windows, rate=rate
                )
                failed = 0 if math.isfinite(norm) else failed + 1
                for number in (number for one in team.gather(numbers) for number in one):
                    averages.add(number)
                averages.add({"norm": norm, "rate": rate, "finite": float(failed == 0)})
                if export is not None and run.writes:
                    export.keep(run.path, learner.step)
            standing.trained_s = clock() - begun
            if not is_due and learner.step % settings.log_every == 0:
                _report(standing, settings, run)
            is_late, *_ = team.gather(clock() - saved >= settings.save_every_s)  # all save together, or none
            if is_due or is_late:
                _save(standing, run, export)
                saved = clock()
    _save(standing, run, export)
    _finish(standing, run)
    if requested:  # whoever trains again after this is to stop too
        raise _interrupted(requested, run)


def _drawn(task: Task[Trained, Sample] | Taught[Trained, Sample, Lesson], seed: Seed) -> Sample:
    return task.draw(np.random.default_rng(seed))


def _say_if_imitated(precision: Precision, device: str, team: Team) -> None:
    """Log it where a training is to compute in bf16 on a device that is not known to have any of its own."""
    if team.is_first and precision == "bf16" and best_precision(device) == "fp32":
        log.warning("no bf16 in hardware that is known of (%s): fp32 may be faster, see `vesalius doctor`", device)


class _Look(NamedTuple):
    """How a step's samples are looked at: ``ahead`` of them at once."""

    weights: Mapping[str, float]
    precision: Precision
    progress: float
    ahead: int


def _stepped(
    task: Task[Trained, Sample] | Taught[Trained, Sample, Lesson],
    learner: Learner[Trained],
    draw: Callable[[Seed], Sample],
    now: Sequence[Seed],
    company: Company,
    *,
    look: _Look,
    windows: int,
    rate: float,
) -> tuple[float, list[Numbers]]:
    """Take a step, of which no gradient is left in memory; return its norm, and the numbers of each sample."""
    total, numbers = _differentiated(task, learner, draw, now, company, look=look)
    parameters = learning_parameters(learner.network)
    gradients = mean(company.team.summed(total, parameters), windows, parameters)
    del total
    return learner.learn(gradients, rate=rate, progress=look.progress), numbers


def _differentiated(
    task: Task[Trained, Sample] | Taught[Trained, Sample, Lesson],
    learner: Learner[Trained],
    draw: Callable[[Seed], Sample],
    now: Sequence[Seed],
    company: Company,
    *,
    look: _Look,
) -> tuple[Gradients, list[Numbers]]:
    """Return the sum of the gradients of this process's samples of a step, and the numbers of each.

    Where the task is taught, the running average is asked about all of them first.
    """
    assert company.pool is not None
    if not isinstance(task, Taught):
        inquiry = Inquiry(draw, task.outcome, learner.network, look.weights, look.precision)
        return accumulated(inquiry, now, company.pool, ahead=look.ahead)
    samples = list(company.pool.map(draw, now))  # in full precision, as where they are drawn ahead
    lessons = task.lessons(learner.average, samples, company, progress=look.progress)
    known = dict(zip(now, zip(samples, lessons, strict=True), strict=True))
    outcome = task.taught_outcome

    def ask(network: Trained, pair: tuple[Sample, Lesson]) -> Outcome:
        return outcome(network, *pair)

    del samples, lessons  # each is let go when it was learnt from
    taught = Inquiry(known.pop, ask, learner.network, look.weights, look.precision)
    return accumulated(taught, now, company.pool, ahead=look.ahead)


def _check(task: object, settings: LoopSettings, team: Team) -> None:
    if settings.validate_every is not None and not isinstance(task, Validating):
        raise UsageError(
            expected="a task that can validate, as validate_every asks",
            got=f"{type(task).__name__} without a validate",
            do="give the task a validate, or leave validate_every out",
        )
    require_windows(settings, team.size)


def require_windows(settings: LoopSettings, processes: int) -> None:
    """Refuse more processes than a step has windows.

    Raises:
        UsageError: If there are.
    """
    if processes > settings.windows:
        raise UsageError(
            expected="at least one window a step for each process",
            got=f"{settings.windows} windows, {processes} processes",
            do="ask for more windows, or start fewer processes",
        )


def _agreed(trained_s: float, requested: str, team: Team) -> tuple[float, str]:
    """Return the first process's time and any process's request to stop, so that all do the same next."""
    everyone = team.gather((trained_s, requested))
    return everyone[0][0], next((name for _, name in everyone if name), "")


def _validate(task: object, standing: Standing[Trained], run: RunFolder, team: Team) -> None:
    """Have the first process judge the average, and tell the others."""
    step, validation = standing.learner.step, None
    if team.is_first:
        assert isinstance(task, Validating)
        with torch.no_grad():
            validation = task.validate(standing.learner.average)
    (score, *_) = team.gather(validation.score if validation else math.nan)
    standing.selection.note(step, score)
    if validation is not None:
        _report_validation(validation, standing, run)


@contextmanager
def _single_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute on one core each, and leave torch's own setting as it was."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _save(standing: Standing[Trained], run: RunFolder, export: Export | None) -> None:
    """Save, and then keep the weights if they are the best: if killed in between, ``_resumed`` keeps them."""
    run.save(standing.state_dict())
    _keep_if_best(standing, run)
    if export is not None and run.writes:
        export.so_far(run.path)
    run.draw_curves()


def _keep_if_best(standing: Standing[Trained], run: RunFolder) -> None:
    if standing.selection.best_step == standing.learner.step:
        run.keep_best(standing.best())


def _resumed(learner: Learner[Trained], run: RunFolder, team: Team) -> Standing[Trained]:
    """Take the state of the run's checkpoint, if it has one; else that of the first process."""
    learner.join(team)
    standing = Standing(learner)
    state = team.first(run.checkpoint() if team.is_first else None)
    event: dict[str, object] = {"event": "started"}
    if state is not None:
        standing.load_state_dict(state)
        again = run.forget_after(learner.step, validated=standing.selection.validated)
        _keep_if_best(standing, run)
        event = {"event": "resumed", "steps_again": again}
    else:
        again = run.forget_after(0, validated=-1)  # what an earlier process logged and did not save
        event |= {"steps_again": again} if again else {}
        if team.size > 1:
            learner.load_state_dict(team.first(learner.state_dict()) or {})
    among = {"processes": team.size, **({"sharded": True} if team.is_sharded else {})}
    _log(run, standing, {**event, "torch": torch.__version__, **among})
    return standing


def _log(run: RunFolder, standing: Standing[Trained], record: Mapping[str, object]) -> None:
    run.log({"step": standing.learner.step, "trained_s": round(standing.trained_s, 3), **record})


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(number, 6) for name, number in numbers.items()}


def _report(standing: Standing[Trained], settings: LoopSettings, run: RunFolder) -> None:
    means = _rounded(standing.averages.take())
    _log(run, standing, means)
    if run.writes:
        trained_min = standing.trained_s / 60
        left_min = (settings.end / settings.progress(standing.learner.step, standing.trained_s) - 1) * trained_min
        words = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        log.info("step %d  %.1f min, %.1f left  %s", standing.learner.step, trained_min, left_min, words)


def _report_validation(validation: Validation, standing: Standing[Trained], run: RunFolder) -> None:
    selection, step = standing.selection, standing.learner.step
    numbers = {name: value for name, value in validation.numbers.items() if math.isfinite(value)}
    score = {"score": validation.score} if math.isfinite(validation.score) else {}
    by_case = {case: _rounded(own) for case, own in validation.by_case.items()}
    record: dict[str, object] = {**_rounded({**numbers, **score}), **({"by_case": by_case} if by_case else {})}
    _log(run, standing, {**record, "event": "validated", "best_step": selection.best_step})
    for name, picture in validation.pictures.items():
        run.keep_picture(name, step, picture)
    best = (selection.best_score, selection.best_step)
    log.info("step %d  score %.4g, best %.4g at step %d", step, validation.score, *best)


def _finish(standing: Standing[Trained], run: RunFolder) -> None:
    selection = standing.selection
    best = {"best_step": selection.best_step, "best_score": round(selection.best_score, 6)}
    _log(run, standing, {"event": "finished", **(best if selection.best_step >= 0 else {})})
    run.draw_curves(at_once=True)


def _interrupted(requested: str, run: RunFolder) -> InterruptedRun:
    return InterruptedRun(
        expected="to train to the end",
        got=f"{requested}; the step in hand was finished and saved",
        do=f"run the same command again with --resume: it goes on from {run.path}",
    )


def _diverged(run: RunFolder) -> UsageError:
    return UsageError(
        expected="finite gradients",
        got=f"{PATIENCE} steps in a row without; none of them changed the weights",
        do=f"look at the losses in {run.path}, and begin a new run with a lower learning rate",
    )
