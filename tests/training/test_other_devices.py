"""Beside the processor, windows and slices are asked about there, and what was got wrong is what it is on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vesalius.engine.loop as loop
import vesalius.engine.wide as wide
import vesalius.training.prompt_sampling as sampling
from other_device import DEVICE, Elsewhere, OtherDevice
from training.small_case import CLICK_SPEC, case_with
from training.small_case import recipe as vista_recipe
from training.small_list import write_list, write_tiny
from training.small_slices import SPEC, case, recipe
from vesalius.checkpoints.load import load_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Outcome, Task
from vesalius.models.build import build
from vesalius.models.promptable import Promptable
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course, carry_out
from vesalius.training.meddinov3_task import MedDinoTask
from vesalius.training.networks import new_network
from vesalius.training.prompt_sampling import ClassQuestion
from vesalius.training.recipes import ClickPrompting, Loss
from vesalius.training.vista3d_task import PromptedWindow, Vista3DTask, VistaSample

SHORT = LoopSettings(steps=1, precision="fp32", log_every=1, validate_every=1)


def asked(task: Task[nn.Module, object], network: nn.Module, sample: object) -> tuple[Outcome, list[Tensor | None]]:
    outcome = task.outcome(network, sample)
    parameters = list(network.parameters())
    loss = torch.stack(list(outcome.terms.values())).sum()
    return outcome, list(torch.autograd.grad(loss, parameters, allow_unused=True))


def compare(task: Task[nn.Module, object], network: nn.Module, sample: object, *, has_float64: bool) -> Outcome:
    """Ask on the processor and beside it, and compare terms and gradients."""
    here, gradients = asked(task, network, sample)
    with OtherDevice(has_float64=has_float64):
        there, others = asked(task, network.to(DEVICE), sample)
    assert all(isinstance(term, Elsewhere) for term in there.terms.values())
    for name, term in here.terms.items():
        assert math.isclose(float(term.detach()), float(there.terms[name].detach()), rel_tol=1e-3), name
    assert there.watched == pytest.approx(here.watched, rel=1e-3)
    largest = max(float(one.abs().max()) for one in gradients if one is not None)
    assert largest > 0
    for one, other in zip(gradients, others, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one - other.cpu()).abs().max() <= 2e-3 * largest
    return there


def prompted(loss: Loss, *, rounds: int) -> tuple[Vista3DTask, VistaSample]:
    """Two windows that are asked for names and clicked on, the first as where a model that looked was not sure."""
    prompting = ClickPrompting(objects=1, rounds=1)
    chosen = vista_recipe(batch=2, drop_point=0.0, clicking=prompting, loss=loss)
    task = Vista3DTask([case_with(1, 0), case_with(2, 1)], CLICK_SPEC, recipe=chosen)
    first, second = (replace(one, rounds=rounds) for one in task.draw(np.random.default_rng(3)).windows)
    assert first.objects
    assert second.objects
    return task, VistaSample((unsure(first), second))


def unsure(window: PromptedWindow) -> PromptedWindow:
    labels, where = window.labels.clone(), torch.zeros(window.labels.shape, dtype=torch.bool)
    labels[:6], where[:4] = 5, True  # people drew a liver, the model looked in it for tumours
    class_ids, is_looked_for = torch.tensor([5, 6, 2]), torch.tensor([True, True, False])
    question = ClassQuestion(class_ids, 1, is_looked_for, frozenset({6}), where)
    return replace(window, labels=labels, question=question)


def test_windows_that_are_prompted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "FEW_IDS", 0)  # so that few ids are looked for as many are
    task, sample = prompted("vesalius", rounds=1)
    there = compare(task, new_network(CLICK_SPEC, seed=0), sample, has_float64=True)
    assert {"dice", "cross_entropy", "click dice", "click cross_entropy"} <= there.terms.keys() - there.unasked


def test_later_rounds_of_clicks_and_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "WITHOUT_FLOAT64", frozenset({DEVICE.type}))
    task, sample = prompted("vista3d", rounds=2)
    with OtherDevice():
        outcome, gradients = asked(task, new_network(CLICK_SPEC, seed=0).to(DEVICE), sample)
    assert "click dice, round 2" in outcome.watched
    assert all(isinstance(one, Elsewhere) and bool(one.isfinite().all()) for one in gradients if one is not None)


def test_slices_of_partly_labelled_cases() -> None:
    task = MedDinoTask([case(0)], SPEC, recipe=recipe(batch=4, recall=0.4))
    torch.manual_seed(0)
    network = build(SPEC.architecture)
    network.encoder.drop_paths(0.4)
    sample = task.draw(np.random.default_rng(2))
    sample.looked_for[:2, 2] = False
    there = compare(task, network.train(), sample, has_float64=False)
    assert there.terms.keys() == {"dice", "cross_entropy", "recall"}


@contextmanager
def thread_beside(count: int) -> Iterator[ThreadPoolExecutor]:
    """The thread in which the loop asks; the other device is there, too."""
    with ThreadPoolExecutor(count, initializer=lambda: OtherDevice(has_float64=True).__enter__()) as pool:
        yield pool


@pytest.mark.slow
def test_a_course_trains_judges_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(task: Vista3DTask, network: Promptable, sample: VistaSample) -> Outcome:
        asked_on.append(next(network.parameters()).device)
        return ask(task, network, sample)

    ask, asked_on = Vista3DTask.outcome, list[torch.device]()
    listed, model = read_list(write_list(tmp_path / "data")), write_tiny(tmp_path / "tiny")
    chosen = vista_recipe(shares={}, loop=SHORT)
    course = Course(recipe=chosen, beginning=Beginning.of(model, chosen), listed=listed)
    monkeypatch.setattr(loop, "_single_threads", thread_beside)
    monkeypatch.setattr(Vista3DTask, "outcome", outcome)
    with OtherDevice(has_float64=True):
        carry_out(course, tmp_path / "run", cache=Cache(tmp_path / "cache"), device=DEVICE.type)
    assert asked_on == [DEVICE]
    records = RunFolder(tmp_path / "run").metrics()
    assert [record["step"] for record in records if record.get("event") == "validated"] == [0, 1]
    learnt, begun = (load_model(folder).network.state_dict() for folder in (tmp_path / "run", model))
    assert all(bool(tensor.isfinite().all()) for tensor in learnt.values())
    assert learnt.keys() == begun.keys()
