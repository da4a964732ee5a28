"""Student and teacher: what each sees, and that views which pass together are answered as if they passed alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pretraining.small_store import HEAD, TINY, pupil, task
from vesalius.pretraining.settings import HeadSettings
from vesalius.pretraining.student_teacher import Head, Pupil, ask_gram_teacher, ask_student, ask_teacher
from vesalius.pretraining.views import Views


def views() -> Views:
    return task().draw(np.random.default_rng(1))


def plain() -> Pupil:
    return pupil(drop_path=0.0, rescale=1.0)


def test_views_that_pass_together_are_answered_as_alone() -> None:
    student, seen = plain(), views()
    says = ask_student(student, seen)
    assert says.of_global.shape == (2, 3, HEAD.prototypes)
    assert says.of_local.shape == (2, 3, HEAD.prototypes)
    masks = seen.is_masked.unflatten(0, (2, 3))
    for view in range(2):
        for number in range(3):
            image, mask = seen.global_views[view, number][None], masks[view, number][None]
            (tokens,) = student.backbone(image, is_masked=mask)
            alone = student.class_head(tokens.class_token)[0]
            assert torch.allclose(says.of_global[view, number], alone, atol=1e-5)
            assert torch.allclose(says.class_tokens[view, number], tokens.class_token[0], atol=1e-5)
    (tokens,) = student.backbone(seen.local_views[1, 2][None])
    assert torch.allclose(says.of_local[1, 2], student.class_head(tokens.class_token)[0], atol=1e-5)


def test_hidden_patches_are_those_of_the_mask_in_its_order() -> None:
    student, teacher, seen = plain(), plain().eval(), views()
    said, taught = ask_student(student, seen), ask_teacher(teacher, seen)
    assert len(said.of_hidden) == len(taught.of_hidden) == int(seen.is_masked.sum())
    first = int(seen.is_masked.any(dim=1).nonzero()[0])
    images = seen.global_views.flatten(0, 1)
    (tokens,) = teacher.backbone(images[first][None])
    expected = teacher.patch_head.mapped(tokens.patches[0][seen.is_masked[first]])
    assert torch.allclose(taught.of_hidden[: len(expected)], expected, atol=1e-5)


def test_a_teacher_is_asked_without_a_mask_and_learns_nothing() -> None:
    teacher, seen = plain().eval(), views()
    shown = ask_teacher(teacher, seen)
    bare = ask_teacher(teacher, replace(seen, is_masked=torch.zeros_like(seen.is_masked)))
    assert torch.equal(shown.of_global, bare.of_global)
    assert not shown.of_global.requires_grad
    masked = ask_student(plain(), seen)
    assert not torch.allclose(masked.class_tokens, shown.class_tokens, atol=1e-3)


def test_what_is_random_in_a_student_comes_from_the_views_own_seed() -> None:
    student, seen = pupil(), views()
    first, again = ask_student(student, seen), ask_student(student, seen)
    other = ask_student(student, replace(seen, seed=seen.seed + 1))
    assert torch.equal(first.of_local, again.of_local)
    assert not torch.equal(first.of_local, other.of_local)


def test_a_head_compares_a_unit_vector_with_prototypes() -> None:
    head = Head(TINY.width, HeadSettings(prototypes=5, hidden=7, bottleneck=3, spread=0.5))
    tokens = torch.randn(6, TINY.width)
    lengths = head.prototypes.weight.norm(dim=1)
    assert bool((head(tokens).abs() <= lengths + 1e-5).all())
    assert head.prototypes.bias is None
    assert [parameter.shape for parameter in head.parameters()][-1] == (5, 3)


def test_prototypes_begin_as_long_as_they_are_to() -> None:
    head = Head(TINY.width, HeadSettings(prototypes=400, hidden=8, bottleneck=64, spread=0.125))
    assert abs(float(head.prototypes.weight.detach().norm(dim=1).mean()) - 1.0) < 0.03


def test_a_gram_teacher_gives_a_map_of_its_own_size() -> None:
    found = ask_gram_teacher(plain().eval().backbone, torch.randn(2, 3, 1, 48, 48))
    assert found.shape == (6, TINY.width, 6, 6)
    assert not found.requires_grad
