"""The loop: draw, ask, differentiate, step, log, save. It knows no task.

Every sample has a generator of its own, made from (seed, step, window), so a run holds no random state: step 1000
draws the same windows whether or not the run was stopped before it. Samples are worked on at once, each in a thread
of its own with one core, and their gradients are added in the order of the windows: how many threads there are
changes the time and nothing else. (On a busy machine one window per core is three times as fast as one window on
several cores, whose threads wait for one another; measured on two cores at load 6.)
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.engine.averages import Averages
from vesalius.engine.interruption import interruption_noticed
from vesalius.engine.learner import Learner
from vesalius.engine.optim import learning_parameters
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings, Precision
from vesalius.engine.task import Task
from vesalius.errors import InterruptedRun, UsageError

Trained = TypeVar("Trained", bound=nn.Module)
Sample = TypeVar("Sample")

log = logging.getLogger(__name__)

PATIENCE = 50
"""Steps in a row whose gradients may be infinite or undefined before the training is given up."""


def train(
    task: Task[Trained, Sample],
    learner: Learner[Trained],
    run: RunFolder,
    settings: LoopSettings,
    *,
    workers: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train until steps or minutes are spent; go on from the run's checkpoint where there is one.

    Args:
        task: Draws samples and says how wrong the network is about them.
        learner: The network, at its start; it holds the result.
        run: Where metrics and checkpoints go.
        settings: How long, and how many samples a step.
        workers: Samples worked on at once.
        clock: Seconds.

    Raises:
        InterruptedRun: If SIGTERM or SIGINT came; the step in hand was finished and saved.
        UsageError: If gradients were infinite or undefined for ``PATIENCE`` steps in a row.
        CheckpointError: If the run's checkpoint is not one of this learner.
    """
    averages = Averages()
    trained_s = _resume(learner, averages, run)
    begun, saved, failed = clock() - trained_s, clock(), 0
    with interruption_noticed() as interruption, _single_threads(workers) as pool:
        while (progress := settings.progress(learner.step, trained_s)) < 1:
            if interruption.requested or failed == PATIENCE:
                _save(learner, averages, run, trained_s)
                raise _interrupted(interruption.requested, run) if interruption.requested else _diverged(run)
            rate = learner.rate_factor(progress)
            inquiry = Inquiry(task, learner.network, task.weights(rate), settings.precision)
            seeds = [(settings.seed, learner.step, window) for window in range(settings.windows)]
            gradients = _mean(pool.map(inquiry, seeds), averages)
            norm = learner.learn(gradients, rate=rate)
            failed = 0 if math.isfinite(norm) else failed + 1
            trained_s = clock() - begun
            averages.add({"norm": norm, "rate": rate, "finite": float(failed == 0)})
            if learner.step % settings.log_every == 0:
                _report(learner.step, trained_s, settings.progress(learner.step, trained_s), averages.take(), run)
            if clock() - saved >= settings.save_every_s:
                _save(learner, averages, run, trained_s)
                saved = clock()
    _save(learner, averages, run, trained_s)
    run.log({"step": learner.step, "trained_s": round(trained_s, 3), "event": "finished"})


@dataclass(frozen=True)
class Inquiry(Generic[Trained, Sample]):
    """Draws a sample, asks the network about it, and differentiates what it got wrong; knows nothing it changes."""

    task: Task[Trained, Sample]
    network: Trained
    weights: Mapping[str, float]
    precision: Precision

    def __call__(self, seed: tuple[int, int, int]) -> tuple[list[Tensor], dict[str, float]]:
        """Return a gradient for every parameter that learns, and the numbers to log."""
        sample = self.task.draw(np.random.default_rng(seed))
        parameters = learning_parameters(self.network)
        kind = parameters[0].device.type
        # No weight is used twice in a forward pass, and a cache would be shared between the threads.
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            outcome = self.task.outcome(self.network, sample)
        assert outcome.terms.keys() == self.weights.keys(), "a task weighs exactly the terms it returns"
        loss = torch.stack([self.weights[name] * term for name, term in outcome.terms.items()]).sum()
        gradients = torch.autograd.grad(loss, parameters)
        numbers = {name: float(term.detach()) for name, term in outcome.terms.items()}
        return list(gradients), {"loss": float(loss.detach()), **numbers, **outcome.watched}


def _mean(results: Iterable[tuple[list[Tensor], dict[str, float]]], averages: Averages) -> list[Tensor]:
    """Return the mean of the windows' gradients, added in order, and count their numbers in."""
    total: list[Tensor] = []
    count = 0
    for gradients, numbers in results:
        total = [old + new for old, new in zip(total, gradients, strict=True)] if total else gradients
        count += 1
        averages.add(numbers)
    return [gradient / count for gradient in total]


@contextmanager
def _single_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute on one core each, and leave torch's own setting as it was."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _save(learner: Learner[Trained], averages: Averages, run: RunFolder, trained_s: float) -> None:
    run.save({**learner.state_dict(), "averages": averages.state_dict(), "trained_s": trained_s})


def _resume(learner: Learner[Trained], averages: Averages, run: RunFolder) -> float:
    """Take the state of the run's checkpoint, if it has one, and return the seconds trained so far."""
    trained_s, again = 0.0, 0
    if (state := run.checkpoint()) is not None:
        learner.load_state_dict(state)
        averages.load_state_dict(state.get("averages", {}))
        trained_s = float(state["trained_s"])
        again = run.forget_after(learner.step)
    event = {"event": "resumed", "steps_again": again} if state else {"event": "started"}
    run.log({"step": learner.step, "trained_s": round(trained_s, 3), **event, "torch": torch.__version__})
    return trained_s


def _report(step: int, trained_s: float, progress: float, means: Mapping[str, float], run: RunFolder) -> None:
    run.log({"step": step, "trained_s": round(trained_s, 3), **{name: round(v, 6) for name, v in means.items()}})
    left_min = (1 / progress - 1) * trained_s / 60
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
    log.info("step %d  %.1f min, %.1f left  %s", step, trained_s / 60, left_min, numbers)


def _interrupted(requested: str, run: RunFolder) -> InterruptedRun:
    return InterruptedRun(
        expected="to train to the end",
        got=f"{requested}; the step in hand was finished and saved",
        do=f"run the same command again: it goes on from {run.path}",
    )


def _diverged(run: RunFolder) -> UsageError:
    return UsageError(
        expected="finite gradients",
        got=f"{PATIENCE} steps in a row without; none of them changed the weights",
        do=f"look at the losses in {run.path}, and begin a new run with a lower learning rate",
    )
