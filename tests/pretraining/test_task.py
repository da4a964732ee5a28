"""The task: terms and monitors, resolutions, what is learnt from, an earlier teacher, and that the loss falls."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pretraining.objectives.loops import sinkhorn, tensor
from pretraining.small_store import SomeSlices, pupil, recipe, task
from vesalius.engine.learner import Learner
from vesalius.engine.task import Outcome, Taught, Validating
from vesalius.errors import UsageError
from vesalius.pretraining.recipes import optimisation_of
from vesalius.pretraining.settings import Cropping, Gram, Masking, Resolution
from vesalius.pretraining.student_teacher import Pupil, ask_teacher
from vesalius.pretraining.task import PretrainingTask, Split
from vesalius.pretraining.views import Views

GRAM = recipe(gram=Gram(), resolutions=(Resolution(global_size=32, local_size=16, gram_size=48),))


def taught(chosen: PretrainingTask, student: Pupil, teacher: Pupil, sample: Views) -> Outcome:
    """Learn from a step of one sample."""
    (lesson,) = chosen.lessons(teacher, [sample], progress=0.0)
    return chosen.taught_outcome(student, sample, lesson)


def test_it_is_a_task_that_is_taught_and_validates() -> None:
    assert isinstance(task(), Taught)
    assert isinstance(task(), Validating)


def test_every_objective_is_a_term_with_a_weight_and_teaches_what_it_should() -> None:
    student, chosen = pupil(), task()
    teacher = copy.deepcopy(student).eval()
    outcome = taught(chosen, student, teacher, chosen.draw(np.random.default_rng(0)))
    assert outcome.terms.keys() == chosen.weights(1.0).keys() == {"dino", "ibot", "koleo"}
    named = dict(student.named_parameters())
    reached = {
        name: {
            key
            for key, gradient in zip(
                named,
                torch.autograd.grad(term, list(named.values()), retain_graph=True, allow_unused=True),
                strict=True,
            )
            if gradient is not None and bool(gradient.any())
        }
        for name, term in outcome.terms.items()
    }
    assert any(key.startswith("class_head") for key in reached["dino"])
    assert not any(key.startswith("patch_head") for key in reached["dino"])
    assert any(key.startswith("patch_head") for key in reached["ibot"])
    assert "backbone.mask_token" in reached["ibot"]
    assert all(key.startswith("backbone") for key in reached["koleo"])
    assert set(outcome.watched) == {"teacher entropy", "teacher entropy of the mean", "rank of a batch"}


def test_each_sample_draws_one_resolution_as_often_as_its_share_says() -> None:
    sizes = (
        Resolution(global_size=32, local_size=16, share=3.0),
        Resolution(global_size=48, local_size=24, share=1.0),
    )
    chosen = task(recipe(resolutions=sizes, batch=2, cropping=Cropping(local_views=1)))
    drawn = [chosen.draw(np.random.default_rng(seed)) for seed in range(40)]
    pairs = [(one.global_views.shape[-1], one.local_views.shape[-1]) for one in drawn]
    assert set(pairs) == {(32, 16), (48, 24)}
    assert 0.5 < pairs.count((32, 16)) / 40 < 0.95


def test_held_out_slices_are_looked_at_in_validations_alone() -> None:
    slices = SomeSlices()
    chosen = task(slices=slices)
    for seed in range(6):
        chosen.draw(np.random.default_rng(seed))
    assert set(slices.read) == set(range(8))
    slices.read.clear()
    with torch.no_grad():
        validation = chosen.validate(pupil().eval())
    assert set(slices.read) == {8, 9, 10, 11}
    assert 0 <= validation.score <= 1
    assert 1 <= validation.numbers["rank of patches"] <= 16
    assert validation.pictures["patches"].dtype == np.uint8


def test_a_validation_is_the_same_every_time() -> None:
    chosen, network = task(), pupil().eval()
    with torch.no_grad():
        first, again = chosen.validate(network), chosen.validate(network)
    assert first.numbers == again.numbers
    assert (first.pictures["patches"] == again.pictures["patches"]).all()


def test_patches_are_held_to_an_earlier_teacher_where_the_recipe_says_so() -> None:
    earlier = pupil(5).eval().backbone
    chosen = task(GRAM, gram_teacher=earlier)
    student = pupil()
    outcome = taught(chosen, student, copy.deepcopy(student).eval(), chosen.draw(np.random.default_rng(0)))
    assert chosen.weights(1.0)["gram"] == 2.0
    assert float(outcome.terms["gram"].detach()) > 0


@pytest.mark.parametrize(("is_wanted", "is_given"), [(True, False), (False, True)])
def test_an_earlier_teacher_is_wanted_exactly_where_the_recipe_has_gram(is_wanted: bool, is_given: bool) -> None:
    with pytest.raises(UsageError, match="earlier teacher"):
        task(GRAM if is_wanted else recipe(), gram_teacher=pupil().backbone if is_given else None)


def test_nothing_to_learn_from_or_to_look_at_is_refused() -> None:
    with pytest.raises(UsageError, match="slices to learn from"):
        task(split=Split(learnt=[]))
    with pytest.raises(UsageError, match="held-out"):
        task(split=Split(learnt=range(4)))


def test_the_targets_of_a_step_are_those_of_all_its_slices_in_one_batch() -> None:
    chosen, teacher = task(), pupil(drop_path=0.0, rescale=1.0).eval()
    samples = [chosen.draw(np.random.default_rng(seed)) for seed in range(3)]
    with torch.no_grad():
        said = [ask_teacher(teacher, one) for one in samples]
        classes = [teacher.class_head.compared(one.of_global.flatten(0, 1)) for one in said]
        patches = [teacher.patch_head.compared(one.of_hidden) for one in said]
    lessons = chosen.lessons(teacher, samples, progress=0.0)
    for logits, found in (
        (classes, [lesson.of_global()[1].flatten(0, 1) for lesson in lessons]),
        (patches, [lesson.of_hidden() for lesson in lessons]),
    ):
        wanted, *alone = (
            tensor(sinkhorn(some.double().numpy(), lessons[0].temperature, 3))
            for some in (torch.cat(logits), *logits)
        )
        assert torch.allclose(torch.cat(found), wanted, atol=1e-5)
        assert (torch.cat(alone) - wanted).abs().max() > 0.05, "balanced by itself, each sample has other targets"


def test_without_any_mask_ibot_asks_for_nothing() -> None:
    chosen, student = task(recipe(masking=Masking(images=0.0))), pupil()
    outcome = taught(chosen, student, student, chosen.draw(np.random.default_rng(0)))
    assert float(outcome.terms["ibot"].detach()) == 0.0


def test_in_a_few_steps_the_student_learns_to_say_what_the_teacher_says() -> None:
    chosen = task(recipe(drop_path=0.0, rescale=1.0))
    student = pupil(drop_path=0.0, rescale=1.0)
    settings = replace(optimisation_of(recipe(), student.backbone.architecture), learning_rate=5e-3, waiting=None)
    learner = Learner(student, settings)
    sample = chosen.draw(np.random.default_rng(0))
    losses = []
    for _ in range(8):
        outcome = taught(chosen, student, learner.average, sample)
        weights = chosen.weights(1.0)
        loss = torch.stack([weights[name] * term for name, term in outcome.terms.items()]).sum()
        losses.append(float(loss.detach()))
        learner.learn(torch.autograd.grad(loss, list(student.parameters()), allow_unused=True), rate=1.0)
    assert losses[-1] < 0.9 * losses[0]
