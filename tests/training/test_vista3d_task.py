"""The class prompt task: silence is never a negative, mirrored scans swap names, a network learns from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vesalius.training.class_prompt_task as room
from engine.line_task import same
from training.small_case import SPEC, balls, case_with, recipe
from vesalius.data.case import UNKNOWN, Case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.models.vista3d import Vista3D
from vesalius.training.class_prompt_task import ClassPromptSample, ClassPromptTask, new_network
from vesalius.training.prompt_sampling import ClassQuestion
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.intensity import scale_hu_

STILL = Augmentation(keep_sharp=1.0, cut=0.0, low_resolution=0.0, noise=0.0, drift=0.0)


class Answers(Vista3D):
    """Answers every question with the logits it was given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(SPEC.architecture)
        self.logits = logits

    def class_logits(self, windows: Tensor, class_ids: Tensor) -> Tensor:
        return self.logits[None]


def partly_labelled() -> ClassPromptSample:
    """Class 1 was looked for and found, 5 looked for and absent, 2 not looked for; some of it all is unknown."""
    labels = torch.zeros(16, 16, 16, dtype=torch.uint8)
    labels[2:5], labels[8:9], labels[12:] = 1, 3, UNKNOWN
    question = ClassQuestion(torch.tensor([1, 5, 2]), 1, torch.tensor([True, True, False]))
    return ClassPromptSample(torch.zeros(1, 16, 16, 16), labels, question, "balls")


def gradient_of(sample: ClassPromptSample) -> Tensor:
    task = ClassPromptTask([case_with(1, 0)], SPEC, recipe=recipe())
    logits = torch.randn(3, 16, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    terms = task.outcome(Answers(logits), sample).terms
    (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
    return gradient


def test_a_class_nobody_looked_for_is_no_negative_where_nothing_is_labelled() -> None:
    sample = partly_labelled()
    gradient = gradient_of(sample)
    unlabelled, unknown = sample.labels == 0, sample.labels == UNKNOWN
    assert gradient[2][unlabelled].eq(0).all()
    assert gradient[:, unknown].eq(0).all()
    assert gradient[2][(sample.labels == 1) | (sample.labels == 3)].gt(0).all()  # other structures: not its own
    assert gradient[1][~unknown].gt(0).all()  # looked for and absent: a negative everywhere
    assert gradient[0][sample.labels == 1].lt(0).all()
    assert gradient[0][unlabelled | (sample.labels == 3)].gt(0).all()


@pytest.mark.parametrize("mutation", ["all is known", "unknown is known"])
def test_the_test_above_notices_a_loss_that_takes_silence_for_absence(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = partly_labelled()
    right = room.known

    def wrong(labels: Tensor, question: ClassQuestion) -> Tensor:
        if mutation == "all is known":
            return torch.ones(3, *labels.shape, dtype=torch.bool)
        return right(torch.where(labels == UNKNOWN, 0, labels.int()), question)

    monkeypatch.setattr(room, "known", wrong)
    gradient = gradient_of(sample)
    silent = (sample.labels == 0) if mutation == "all is known" else (sample.labels == UNKNOWN)
    assert gradient[2 if mutation == "all is known" else 1][silent].ne(0).all()


def test_terms_are_those_of_the_losses_and_recall_fades_with_the_rate() -> None:
    task = ClassPromptTask([case_with(1, 0)], SPEC, recipe=recipe(recall=0.4))
    outcome = task.outcome(Answers(torch.zeros(3, 16, 16, 16)), partly_labelled())
    assert outcome.terms.keys() == task.weights(1.0).keys()
    own, known = 3 * 256, 12 * 256
    assert float(outcome.terms["dice"]) == pytest.approx(1 - (own + 1) / (known / 2 + own + 1))
    assert float(outcome.terms["recall"]) == pytest.approx(np.log(2))
    assert float(outcome.terms["cross_entropy"]) == pytest.approx(np.log(2) * (1 + 1 + 4 * 256 / 1024) / 3)
    assert outcome.watched == {"dice of balls": pytest.approx(float(outcome.terms["dice"]))}
    assert [task.weights(rate)["recall"] for rate in (1.0, 0.5)] == pytest.approx([0.4, 0.2])


def test_a_window_is_the_case_s_own_voxels_in_the_spec_s_window_of_intensities() -> None:
    case = case_with(1, 0)
    sample = ClassPromptTask([case], SPEC, recipe=recipe(augmentation=STILL)).draw(np.random.default_rng(0))
    assert case.image_hu is not None
    whole = scale_hu_(torch.from_numpy(case.image_hu.astype(np.float32)), SPEC.window_hu)
    padded = torch.nn.functional.pad(whole, [8] * 6, value=0.0)  # air is the low end of the window
    views = padded.unfold(0, 16, 1).unfold(1, 16, 1).unfold(2, 16, 1)
    apart = (views - sample.image[0]).abs().amax((3, 4, 5))
    assert float(apart.min()) < 1e-4
    at = [int(n) - 8 for n in np.unravel_index(int(apart.argmin()), apart.shape)]
    labels = np.pad(case.labels, 8)[tuple(slice(a + 8, a + 24) for a in at)]
    assert np.array_equal(sample.labels.numpy(), labels)


def test_the_same_seed_draws_the_same_sample_and_another_another() -> None:
    task = ClassPromptTask([case_with(1, 0), case_with(2, 1)], SPEC, recipe=recipe())
    first, again, other = (task.draw(np.random.default_rng((0, step, 0))) for step in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.question.class_ids, again.question.class_ids)
    assert not torch.equal(first.image, other.image)


def test_a_mirrored_scan_swaps_the_names_of_left_and_right_also_of_what_was_looked_for() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 4:16, 4:16] = 3  # left, where i is small; the right one was not looked for
    case = Case("sides", "balls", labels.astype(np.int16) * 50, labels, frozenset((3,)))
    swap = {3: 4, 4: 3}

    def drawn(part: float) -> list[ClassPromptSample]:
        chosen = recipe(mirror={"balls": part}, augmentation=STILL)
        task = ClassPromptTask([case], SPEC, recipe=chosen, mirrored=swap)
        return [task.draw(np.random.default_rng(seed)) for seed in range(12)]

    for sample in drawn(1.0):
        assert set(sample.labels.unique().tolist()) <= {0, 4}
        is_annotated = dict(
            zip(sample.question.class_ids.tolist(), sample.question.annotated.tolist(), strict=True)
        )
        assert is_annotated[4]
        assert not is_annotated.get(3, False)
        assert torch.equal(sample.labels == 4, (sample.image[0] * 400 - 200) > 100)  # the image is mirrored, too
    for sample in drawn(0.0):
        assert set(sample.labels.unique().tolist()) <= {0, 3}


def test_a_map_of_tissues_is_painted_and_its_tissues_are_no_labels() -> None:
    labels = np.full((20, 20, 20), 104, np.uint8)
    labels[4:16], labels[:, :3] = 1, UNKNOWN
    case = Case("map", "balls", None, labels, frozenset((1,)))
    seen: list[set[int]] = []

    def paint(tissues: Tensor, rng: np.random.Generator) -> Tensor:
        seen.append(set(tissues.unique().tolist()))
        return tissues.float() + float(rng.normal())

    task = ClassPromptTask([case], SPEC, recipe=recipe(), paint=paint)
    samples = [task.draw(np.random.default_rng(seed)) for seed in range(6)]
    assert set().union(*seen) == {0, 1, 104, UNKNOWN} or set().union(*seen) == {1, 104, UNKNOWN}
    assert set().union(*(set(sample.labels.unique().tolist()) for sample in samples)) == {0, 1, UNKNOWN}


def test_contrast_is_changed_for_the_groups_named_and_before_names_are_swapped() -> None:
    case = case_with(1, 0)

    def brighten(image_hu: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        return torch.where(labels == 1, torch.full_like(image_hu, 190.0), image_hu)

    def brightest(group: str) -> float:
        chosen = recipe(augmentation=STILL, mirror={"balls": 1.0})
        task = ClassPromptTask([case], SPEC, recipe=chosen, recontrast={group: brighten}, mirrored={1: 2, 2: 1})
        sample = next(s for s in (task.draw(np.random.default_rng(n)) for n in range(50)) if s.question.present)
        return float(sample.image[0][sample.labels == 2].min())

    assert brightest("balls") == pytest.approx(390 / 400)
    assert brightest("others") < 0.9


@pytest.mark.parametrize(
    ("cases", "changes", "message"),
    [
        ([replace(case_with(1, 0), annotated=frozenset((1, 6)))], {}, "vocabulary"),
        ([replace(case_with(1, 0), image_hu=None)], {}, "paint"),
        ([case_with(1, 0)], {"window_size": (16, 16, 15)}, "multiples of 2"),
        ([replace(case_with(1, 0), group="others")], {}, "groups"),
    ],
    ids=["a class it has no name for", "no image", "an odd window", "a group without a share"],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    cases: list[Case], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ClassPromptTask(cases, SPEC, recipe=recipe(**changes))


def test_a_new_network_follows_from_its_seed_and_leaves_torch_s_generator() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = (new_network(SPEC, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(dict(first), dict(again))
    assert not same(dict(first), dict(other))
    kernels = [tensor for tensor in first.values() if tensor.ndim == 5]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)


class CrashError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_training_of_the_real_network_ends_bit_for_bit_alike(tmp_path: Path, precision: str) -> None:
    loop = LoopSettings(steps=5, windows=2, precision=precision, save_every_s=0.0)  # type: ignore[arg-type]
    chosen = recipe(loop=loop)
    task = ClassPromptTask([case_with(1, 0), case_with(2, 1)], SPEC, recipe=chosen)

    class Crashing(ClassPromptTask):
        drawn = 0

        def draw(self, rng: np.random.Generator) -> ClassPromptSample:
            self.drawn += 1
            if self.drawn > 2 * 3:
                raise CrashError
            return super().draw(rng)

    def run(path: Path, task: ClassPromptTask, workers: int = 1) -> dict[str, object]:
        learner = Learner(new_network(SPEC, seed=0), chosen.optimisation)
        with opened(path, {}) as folder:
            train(task, learner, folder, loop, workers=workers)
        return learner.state_dict()

    whole = run(tmp_path / "whole", task, workers=2)
    crashing = Crashing([case_with(1, 0), case_with(2, 1)], SPEC, recipe=chosen)
    with pytest.raises(CrashError):
        run(tmp_path / "crashed", crashing)
    assert RunFolder(tmp_path / "crashed").checkpoint()["step"] == 3
    assert same(run(tmp_path / "crashed", task), whole)


def whole_truth_dice(network: Vista3D) -> list[float]:
    """Dice of either ball, pooled over cases the network never saw."""
    pairs: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {1: [], 2: []}
    for seed in range(6, 10):
        image, truth = balls(seed)
        window = scale_hu_(torch.from_numpy(image[4:20, 4:20, 4:20].astype(np.float32)), SPEC.window_hu)
        with torch.no_grad():
            logits = network.class_logits(window[None, None], torch.tensor([1, 2]))[0].numpy()
        for label, found in zip((1, 2), logits > 0, strict=True):
            pairs[label].append((found, truth[4:20, 4:20, 4:20] == label))
    return [
        float(2 * sum((f & m).sum() for f, m in both) / sum(f.sum() + m.sum() for f, m in both))
        for both in pairs.values()
    ]


def test_it_learns_each_ball_from_the_half_of_the_cases_that_has_it_drawn(tmp_path: Path) -> None:
    cases = [case_with(1 + seed % 2, seed) for seed in range(6)]
    chosen = recipe(loop=LoopSettings(steps=160, windows=2, precision="bf16"))
    learner = Learner(new_network(SPEC, seed=0), chosen.optimisation)
    assert min(whole_truth_dice(learner.average)) < 0.5
    with opened(tmp_path, {}) as run:
        train(ClassPromptTask(cases, SPEC, recipe=chosen), learner, run, chosen.loop)
    assert min(whole_truth_dice(learner.average)) > 0.9
