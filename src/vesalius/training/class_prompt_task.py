"""The task of the automatic branch: windows of partly labelled cases, asked for classes by prompts.

Each sample is one window of one case, changed as ``Augmentation`` says. Asked for are the classes that lie in it, a
few that were looked for and are absent, and a few that nobody looked for. A class that was not looked for is never
a negative where nothing is labelled.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from vesalius.data.case import LARGEST_CLASS, UNKNOWN, Case
from vesalius.data.crops import cases_by_group, draw_case, draw_centre
from vesalius.engine.task import Outcome
from vesalius.errors import UsageError
from vesalius.models.build import build
from vesalius.models.vista3d import Vista3D
from vesalius.spec import ModelSpec
from vesalius.training.losses import cross_entropy_loss, dice_loss, recall_loss
from vesalius.training.prompt_sampling import ClassQuestion, ask, known, targets
from vesalius.training.recipes import ClassPromptRecipe
from vesalius.transforms.deformation import AIR_HU, end_early, random_map, rename, sample, window_points
from vesalius.transforms.degradation import degrade
from vesalius.transforms.intensity import scale_hu_

Painter = Callable[[UInt8[Tensor, "i j k"], np.random.Generator], Float[Tensor, "i j k"]]
"""From a window of tissue ids to Hounsfield units."""
Recontrast = Callable[[Float[Tensor, "i j k"], UInt8[Tensor, "i j k"], np.random.Generator], Float[Tensor, "i j k"]]
"""From a window and its labels to the same window in another phase of contrast, say."""


@dataclass(frozen=True)
class ClassPromptSample:
    """One window, and what it is asked for.

    Args:
        image: Intensities in 0..1.
        labels: Class ids, UNKNOWN, 0.
        question: The class prompts.
        group: Where the case comes from.
    """

    image: Float[Tensor, "1 i j k"]
    labels: Integer[Tensor, "i j k"]
    question: ClassQuestion
    group: str


class ClassPromptTask:
    """Cases to learn from, and how.

    Args:
        cases: Prepared cases on the spec's grid.
        spec: Says spacing, Hounsfield window and vocabulary.
        recipe: Says everything else.
        mirrored: Class id -> the id it becomes when left and right are swapped.
        paint: Makes the image of a case that has none.
        recontrast: Group -> what moves its scans to another phase of contrast.

    Raises:
        UsageError: If cases, groups and vocabulary do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        spec: ModelSpec,
        *,
        recipe: ClassPromptRecipe,
        mirrored: Mapping[int, int] | None = None,
        paint: Painter | None = None,
        recontrast: Mapping[str, Recontrast] | None = None,
    ) -> None:
        self._class_ids = frozenset(spec.names)
        self._groups = cases_by_group(cases, recipe.shares)
        self._spec, self._recipe, self._paint = spec, recipe, paint
        self._mirrored, self._recontrast = dict(mirrored or {}), dict(recontrast or {})
        for case in cases:
            _check(case, self._class_ids, can_paint=paint is not None)
        multiple = spec.architecture.size_multiple
        if any(side % multiple for side in recipe.window_size):
            raise _refused(f"window sides that are multiples of {multiple}", recipe.window_size)

    def draw(self, rng: np.random.Generator) -> ClassPromptSample:
        """Draw a case, cut a window, change it, and choose what it is asked for."""
        case = draw_case(self._groups, self._recipe.shares, rng)
        centre = draw_centre(case, self._recipe.window_size, rng)
        is_mirrored = rng.random() < self._recipe.mirror.get(case.group, 0.0)
        image_hu, labels = self._window(case, centre, rng, is_mirrored=is_mirrored)
        annotated = case.annotated
        if is_mirrored:
            labels = rename(labels, self._mirrored)
            annotated = frozenset(self._mirrored.get(label, label) for label in annotated)
        image_hu, labels = end_early(image_hu, labels, self._recipe.augmentation, rng)
        image = scale_hu_(degrade(image_hu, self._recipe.augmentation, rng), self._spec.window_hu)
        question = ask(labels, annotated, self._class_ids, self._recipe.prompting, rng)
        return ClassPromptSample(image[None], labels, question, case.group)

    def _window(
        self, case: Case, centre: np.ndarray, rng: np.random.Generator, *, is_mirrored: bool
    ) -> tuple[Tensor, Tensor]:
        """Cut a window in Hounsfield units and its class ids, without the names of a mirrored one."""
        linear = random_map(self._recipe.augmentation, self._spec.spacing_mm, rng)
        if is_mirrored:
            linear = linear @ np.diag([-1.0, 1.0, 1.0])
        points = window_points(centre, linear, self._recipe.window_size)
        labels = sample(case.labels, points, nearest=True, outside=0.0).to(torch.uint8)
        if case.image_hu is not None:
            image_hu = sample(case.image_hu, points, nearest=False, outside=AIR_HU)
            if case.group in self._recontrast:
                image_hu = self._recontrast[case.group](image_hu, labels, rng)
        else:
            assert self._paint is not None
            image_hu = self._paint(labels, rng)
        is_tissue = (labels > LARGEST_CLASS) & (labels != UNKNOWN)
        return image_hu, labels.masked_fill(is_tissue, 0)

    def outcome(self, network: Vista3D, sample: ClassPromptSample) -> Outcome:
        """Ask the network for the sample's classes, and compare."""
        device = next(network.parameters()).device
        question, labels = sample.question, sample.labels.to(device)
        logits = network.class_logits(sample.image[None].to(device), question.class_ids.to(device))[0].float()
        wanted, is_known = targets(labels, question), known(labels, question)
        present = slice(question.present)
        terms = {
            "dice": dice_loss(logits[present], wanted[present], is_known[present]),
            "cross_entropy": cross_entropy_loss(logits, wanted, is_known),
            "recall": recall_loss(logits[present], wanted[present]),
        }
        watched = {f"dice of {sample.group}": float(terms["dice"].detach())} if question.present else {}
        return Outcome(terms, watched)

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the weight of every term; that of recall falls with the rate."""
        return {"dice": 1.0, "cross_entropy": 1.0, "recall": rate * self._recipe.recall}


def new_network(spec: ModelSpec, *, seed: int) -> Vista3D:
    """Return the spec's network with random weights, laid out for training; torch's own generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec.architecture)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def _check(case: Case, class_ids: frozenset[int], *, can_paint: bool) -> None:
    strange = sorted(case.annotated - class_ids)
    if strange:
        raise _refused("cases that name classes of the vocabulary", f"{strange} in {case.name}")
    if case.image_hu is None and not can_paint:
        raise _refused("a way to paint cases that have no image", case.name)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="prepare the cases for this model, or change the recipe")
