"""Beside the processor, pretraining asks teacher and student there, and every objective is what it is on it."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from other_device import DEVICE, Elsewhere, OtherDevice
from pretraining.small_store import pupil, recipe, task
from vesalius.engine.task import Outcome
from vesalius.pretraining.settings import Gram, Resolution
from vesalius.pretraining.student_teacher import Pupil
from vesalius.pretraining.task import PretrainingTask
from vesalius.pretraining.views import Views

GRAM = recipe(gram=Gram(), resolutions=(Resolution(global_size=32, local_size=16, gram_size=48),))


def learnt_from(
    chosen: PretrainingTask, student: Pupil, teacher: Pupil, samples: list[Views]
) -> tuple[Outcome, list[torch.Tensor]]:
    """What two samples that are balanced together teach: the outcome of the first, and its gradients."""
    lessons = chosen.lessons(teacher, samples, progress=0.0)
    outcome = chosen.taught_outcome(student, samples[0], lessons[0])
    gradients = torch.autograd.grad(sum(outcome.terms.values()), list(student.parameters()))  # type: ignore[arg-type]
    return outcome, list(gradients)


def test_terms_and_gradients_are_those_of_the_processor() -> None:
    student, teacher, earlier = pupil(), pupil(1).eval().requires_grad_(False), pupil(2).eval().backbone
    chosen = task(GRAM, gram_teacher=earlier)
    samples = [chosen.draw(np.random.default_rng(seed)) for seed in range(2)]
    here, gradients = learnt_from(chosen, student, teacher, samples)
    with OtherDevice():
        chosen = task(GRAM, gram_teacher=copy.deepcopy(earlier).to(DEVICE))
        there, gradients_there = learnt_from(chosen, student.to(DEVICE), teacher.to(DEVICE), samples)
    assert there.terms.keys() == here.terms.keys() == {"dino", "ibot", "koleo", "gram"}
    assert all(isinstance(one, Elsewhere) for one in (*there.terms.values(), *gradients_there))
    for name, term in here.terms.items():
        assert math.isclose(float(term.detach()), float(there.terms[name].detach()), rel_tol=1e-3), name
    largest = max(float(one.abs().max()) for one in gradients)
    for one, other in zip(gradients, gradients_there, strict=True):
        assert (one - other.cpu()).abs().max() <= 1e-3 * largest
    assert here.watched.keys() == there.watched.keys()
    assert all(math.isclose(here.watched[n], there.watched[n], rel_tol=1e-3) for n in here.watched)


def test_a_validation_finds_what_it_finds_on_the_processor() -> None:
    chosen, network = task(), pupil().eval()
    with torch.no_grad():
        here = chosen.validate(network)
        with OtherDevice():
            there = chosen.validate(network.to(DEVICE))
    assert all(math.isclose(here.numbers[n], there.numbers[n], rel_tol=1e-3) for n in here.numbers)
    assert here.pictures["patches"].shape == there.pictures["patches"].shape
