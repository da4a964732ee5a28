"""The task of pretraining: views of slices, what a student says of them, and what its teacher says.

DINO, iBOT and KoLeo as in DINOv3 (arXiv:2508.10104), with Gram anchoring where an earlier teacher is given. The
teacher is the running average that the engine keeps. Its targets are balanced over all slices of a step, whichever
sample and process they are in, as in the official code; until then what it said is kept as short vectors. What is
random in the student comes from the batch's own seed, so that a resumed run ends bit for bit alike. A deliberate
difference: the toy of a recipe may cut its views from the body alone.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vesalius.data.slices import StoredSlice
from vesalius.engine.company import Company
from vesalius.engine.task import Outcome, Validation
from vesalius.errors import UsageError
from vesalius.models.vit import Vit
from vesalius.pretraining.monitors import effective_rank, entropy, found_again
from vesalius.pretraining.objectives.dino import DinoLoss
from vesalius.pretraining.objectives.gram import GramLoss
from vesalius.pretraining.objectives.ibot import IbotLoss
from vesalius.pretraining.objectives.koleo import KoleoLoss
from vesalius.pretraining.objectives.sinkhorn import balanced, prototype_balance
from vesalius.pretraining.recipes import PretrainingRecipe
from vesalius.pretraining.student_teacher import (
    Pupil,
    StudentSays,
    TeacherSays,
    ask_gram_teacher,
    ask_student,
    ask_teacher,
)
from vesalius.pretraining.views import Views, ViewSettings, draw_views, undistorted_view
from vesalius.spec import ModelSpec
from vesalius.views.patch_features import render_patch_features


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a teacher says of one sample, and what balances it with all others of its step.

    Args:
        teacher: Compares with its prototypes.
        says: Of this sample.
        class_balance: Of the prototypes of class tokens (``prototype_balance``).
        patch_balance: Of those of patches.
        temperature: That both were made with.
    """

    teacher: Pupil
    says: TeacherSays
    class_balance: Float[Tensor, " q"]
    patch_balance: Float[Tensor, " p"]
    temperature: float

    def of_global(self) -> tuple[Float[Tensor, "v b q"], Float[Tensor, "v b q"]]:
        """Return logits and targets of the class tokens."""
        logits = _class_logits(self.teacher, self.says)
        targets = balanced(logits, self.class_balance, temperature=self.temperature)
        first, second = (
            rearrange(one, "(v b) q -> v b q", v=len(self.says.of_global)) for one in (logits, targets)
        )
        return first, second

    def of_hidden(self) -> Float[Tensor, "n p"]:
        """Return the targets of the masked patches."""
        return balanced(_patch_logits(self.teacher, self.says), self.patch_balance, temperature=self.temperature)


_JUDGED = 48
"""Slices that a validation looks at, at most."""
_PICTURED = 6
_JUDGING_SEED = 20_250_903


@runtime_checkable
class Slices(Protocol):
    """Slices by their number, such as ``SliceStore``."""

    def __getitem__(self, index: int, /) -> StoredSlice:
        """Return a slice."""
        ...


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which slices are learnt from, and which show how far that has come."""

    learnt: Sequence[int]
    held_out: Sequence[int] = ()


class PretrainingTask:
    """What is asked of slices, and how wrong a student is.

    Args:
        slices: All of them.
        split: Which are learnt from, and which validations look at.
        spec: What the backbone sees of Hounsfield units, and its architecture.
        recipe: Says everything else.
        gram_teacher: The earlier backbone, frozen, if the recipe anchors patches; on the student's device.

    Raises:
        UsageError: If there is nothing to learn from, or the recipe wants an earlier teacher and has none.
    """

    def __init__(
        self,
        slices: Slices,
        split: Split,
        spec: ModelSpec,
        *,
        recipe: PretrainingRecipe,
        gram_teacher: Vit | None = None,
    ) -> None:
        _check(split, recipe, gram_teacher)
        self._slices, self._split, self._spec, self._recipe = slices, split, spec, recipe
        self._gram_teacher = gram_teacher
        self._settings = ViewSettings(
            cropping=recipe.cropping,
            distortion=recipe.distortion,
            masking=recipe.masking,
            patch_size=spec.architecture.size_multiple,
            wants_gram=recipe.gram is not None,
        )
        self._dino, self._ibot, self._koleo = DinoLoss(recipe.dino), IbotLoss(recipe.ibot), KoleoLoss(recipe.koleo)
        self._gram = GramLoss(recipe.gram) if recipe.gram else None

    def draw(self, rng: np.random.Generator) -> Views:
        """Draw a resolution and slices, and cut their views."""
        recipe = self._recipe
        shares = np.array([one.share for one in recipe.resolutions])
        resolution = recipe.resolutions[int(rng.choice(len(shares), p=shares / shares.sum()))]
        chosen = rng.choice(len(self._split.learnt), recipe.batch, replace=recipe.batch > len(self._split.learnt))
        numbers = [self._split.learnt[int(place)] for place in chosen]
        return draw_views([self._slice(number) for number in numbers], self._spec, resolution, self._settings, rng)

    def _slice(self, number: int) -> Tensor:
        return torch.from_numpy(self._slices[number].pixels_hu.astype(np.float32))

    def lessons(
        self, teacher: Pupil, samples: Sequence[Views], company: Company | None = None, *, progress: float
    ) -> list[Lesson]:
        """Ask the teacher about all views of a step, and balance what it says over them.

        Args:
            teacher: The running average.
            samples: Those of this process.
            company: Who has others of the step; None: nobody.
            progress: Part of the training that is behind, in [0, 1].
        """
        company = company or Company()
        device, temperature = teacher.backbone.class_token.device, self._recipe.teacher.temperature_at(progress)
        said = company.each(lambda views: ask_teacher(teacher, views.to(device)), samples)
        classes, patches = (
            prototype_balance(
                [partial(logits, teacher, one) for one in said], temperature=temperature, company=company
            )
            for logits in (_class_logits, _patch_logits)
        )
        return [Lesson(teacher, one, classes, patches, temperature) for one in said]

    def taught_outcome(self, network: Pupil, sample: Views, lesson: Lesson) -> Outcome:
        """Ask the student about the views, and compare with what the teacher says."""
        views = sample.to(network.backbone.class_token.device)
        said, (logits, targets) = ask_student(network, views), lesson.of_global()
        terms = {
            "dino": self._dino(said.of_global, said.of_local, targets),
            "koleo": self._koleo(said.class_tokens),
            "ibot": self._ibot_term(said, lesson, views),
        }
        if self._gram is not None and self._gram_teacher is not None and views.gram_views is not None:
            earlier = ask_gram_teacher(self._gram_teacher, views.gram_views)
            terms["gram"] = self._gram(said.patches, earlier, said.grid)
        unbalanced = (logits / lesson.temperature).softmax(dim=-1)
        return Outcome(terms, _watched(targets, unbalanced, said))

    def _ibot_term(self, said: StudentSays, lesson: Lesson, views: Views) -> Tensor:
        if not len(said.of_hidden):
            return said.of_hidden.sum()
        term: Tensor = self._ibot(said.of_hidden, lesson.of_hidden(), views.is_masked)
        return term

    def weights(self, rate: float) -> Mapping[str, float]:  # noqa: ARG002 - the engine's protocol
        """Return the weight of every objective; none of them follows the rate."""
        recipe = self._recipe
        weights = {"dino": recipe.dino.weight, "koleo": recipe.koleo.weight, "ibot": recipe.ibot.weight}
        return weights if recipe.gram is None else {**weights, "gram": recipe.gram.weight}

    def validate(self, network: Pupil) -> Validation:
        """Look at held-out slices: are two views of one found among all, and do features vary?

        The score is the part that is found. No label has a part in it: it tells a collapse, not a good backbone.
        """
        numbers = list(self._split.held_out)[:: max(1, len(self._split.held_out) // _JUDGED)][:_JUDGED]
        slices = [self._slice(number) for number in numbers]
        recipe = self._recipe
        unmasked = replace(self._settings, masking=replace(recipe.masking, images=0.0), wants_gram=False)
        rng = np.random.default_rng(_JUDGING_SEED)
        views = draw_views(slices, self._spec, recipe.resolutions[0], unmasked, rng)
        taught = ask_teacher(network, views.to(network.backbone.class_token.device))
        first, second = taught.class_tokens[0], taught.class_tokens[1]
        size = recipe.resolutions[0].global_size
        plain = torch.stack([undistorted_view(one, self._spec, size=size) for one in slices])
        (tokens,) = network.backbone(plain.to(first.device))
        found = found_again(first, second)
        ranks = {
            "rank of slices": effective_rank(tokens.class_token),
            "rank of patches": effective_rank(rearrange(tokens.patches, "b t d -> (b t) d")),
        }
        shown = np.linspace(0, len(slices) - 1, min(_PICTURED, len(slices))).astype(int)
        maps, grey = tokens.feature_map.float().cpu().numpy()[shown], plain[:, 0].numpy()[shown]
        low, high = float(grey.min()), float(grey.max())
        picture = render_patch_features((grey - low) / max(high - low, 1e-6), maps)
        return Validation(found, {"found again": found, **ranks}, {"patches": picture})


@torch.no_grad()
def _class_logits(teacher: Pupil, says: TeacherSays) -> Float[Tensor, "vb q"]:
    return teacher.class_head.compared(rearrange(says.of_global, "v b m -> (v b) m"))


@torch.no_grad()
def _patch_logits(teacher: Pupil, says: TeacherSays) -> Float[Tensor, "n p"]:
    return teacher.patch_head.compared(says.of_hidden)


def _watched(targets: Tensor, unbalanced: Tensor, said: StudentSays) -> dict[str, float]:
    """Return what tells a collapse: of what the teacher says, balanced and as it came, and of the class tokens."""
    return {
        "teacher entropy": float(entropy(targets).mean()),
        "teacher entropy of the mean": float(entropy(unbalanced.mean(dim=(0, 1)))),
        "rank of a batch": effective_rank(rearrange(said.class_tokens.detach(), "v b d -> (v b) d")),
    }


def _check(split: Split, recipe: PretrainingRecipe, gram_teacher: Vit | None) -> None:
    if not split.learnt:
        raise UsageError(expected="slices to learn from", got="none", do="fill the store: `vesalius curate slices`")
    if recipe.loop.validate_every is not None and len(split.held_out) < 2:
        raise UsageError(
            expected="at least two held-out slices, which validations look at",
            got=str(len(split.held_out)),
            do="add cases to the store, or train without validations: --no-validation",
        )
    if (recipe.gram is None) != (gram_teacher is None):
        raise UsageError(
            expected="an earlier teacher exactly where the recipe anchors patches to one",
            got="a recipe that does, and no teacher" if recipe.gram else "a teacher, and a recipe that does not",
            do="name it with --gram, or take a stage without",
        )
