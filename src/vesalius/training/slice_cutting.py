"""Cut training windows of slices out of cached volumes, and change them: place, shape, contrast, resolution, sides.

nnU-Net resamples and unpacks every slice to the training's resolution beforehand (204 GB for KiTS23 at 896 pixels).
Here a window is read straight out of the compressed case at the spec's spacing, turned and scaled as it is read.
Everything random comes from one generator. The changes are nnU-Net's; the work is done as for volumes, by what
``benchmarks/augmentation.py`` chose. A deliberate difference: four in five windows lie at a class
(``crops.NEAR_A_CLASS``), each as often as another, not one in three.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Integer
from torch import Tensor

from vesalius.data.case import Case
from vesalius.data.crops import cases_by_group, draw_case, draw_centre
from vesalius.errors import UsageError
from vesalius.spec import ModelSpec
from vesalius.training.slice_recipes import SliceRecipe
from vesalius.transforms.artefacts import disturb_slices
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.deformation import rename, renamed, sample, window_points
from vesalius.transforms.degradation import degrade
from vesalius.transforms.intensity import normalise_hu_


@dataclass(frozen=True, eq=False)
class CutSlices:
    """Neighbouring slices of one case, or one.

    Args:
        images: As the network sees them.
        labels: Class numbers, 0, UNKNOWN.
        looked_for: Which classes were looked for in the case, by number; the background's place is True.
    """

    images: Float[Tensor, "k 1 h w"]
    labels: Integer[Tensor, "k h w"]
    looked_for: Bool[Tensor, " o"]


class SliceCutter:
    """Cases to cut slices from.

    Args:
        cases: On the spec's grid, slices along the last axis.
        spec: Says orientation, spacing, normalisation and classes, whose ids are numbered from 1 without a gap.
        recipe: Says everything else.
        mirrored: Class id -> the id it becomes when left and right are swapped, or UNKNOWN.

    Raises:
        UsageError: If cases and classes do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        spec: ModelSpec,
        *,
        recipe: SliceRecipe,
        mirrored: Mapping[int, int] | None = None,
    ) -> None:
        self._shares = {group: float(count) for group, count in Counter(case.group for case in cases).items()}
        self._groups = cases_by_group(cases, self._shares)
        self._spec, self._recipe, self._mirrored = spec, recipe, dict(mirrored or {})
        self._size = (*(recipe.window_size or spec.window_size[:2]), recipe.slices)
        self._classes = len(spec.vocabulary)
        strange = [case.name for case in cases if case.image_hu is None or not case.annotated <= set(spec.names)]
        if strange or set(spec.names) != set(range(1, self._classes + 1)):
            raise UsageError(
                expected="scans whose labels are classes of the model, numbered from 1 without a gap",
                got=strange[0] if strange else str(sorted(spec.names)),
                do="prepare the cases for this model",
            )

    def cut(self, rng: np.random.Generator) -> CutSlices:
        """Draw a case, cut a window of slices from it, and change it."""
        recipe, spec = self._recipe, self._spec
        case = draw_case(self._groups, self._shares, rng)
        centre = draw_centre(case, self._size, rng)
        flips, across = rng.random(2) < recipe.mirror, np.array([code in "LR" for code in spec.orientation[:2]])
        if not renamed(case.annotated, self._mirrored):  # in a mirror nothing that was looked for has a name
            flips &= ~across
        signs = np.array([*np.where(flips, -1.0, 1.0), 1.0])
        points = window_points(centre, slice_map(recipe.augmentation, spec.spacing_mm, rng) * signs, self._size)
        labels = sample(case.labels, points, nearest=True, outside=0.0).to(torch.uint8)
        assert case.image_hu is not None
        image_hu = sample(case.image_hu, points, nearest=False, outside=spec.outside_hu)
        annotated = case.annotated
        if (flips & across).any():
            labels, annotated = rename(labels, self._mirrored), renamed(annotated, self._mirrored)
        image = normalise_hu_(degrade(image_hu, recipe.augmentation, rng), spec)
        image = disturb_slices(image, recipe.augmentation, rng)
        looked_for = torch.tensor([label in annotated for label in range(1, self._classes + 1)])
        return CutSlices(
            image.permute(2, 0, 1)[:, None].contiguous(),
            labels.long().permute(2, 0, 1).contiguous(),
            torch.cat([torch.ones(1, dtype=torch.bool), looked_for]),
        )


def slice_map(
    config: Augmentation, spacing_mm: Sequence[float], rng: np.random.Generator
) -> Float64[np.ndarray, "3 3"]:
    """Draw a rotation in the plane of the slices and a scaling, as ``deformation.random_map`` does for volumes."""
    if rng.random() < config.keep_sharp:
        return np.eye(3)
    angle = np.radians(rng.uniform(-config.degrees, config.degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    zoom = np.exp(rng.uniform(*np.log(config.scale)) + rng.normal(0, config.stretch, 2))
    to_mm = np.diag(np.asarray(spacing_mm[:2], dtype=np.float64))
    linear = np.eye(3)
    linear[:2, :2] = np.linalg.inv(to_mm) @ turn @ np.diag(1 / zoom) @ to_mm
    return linear
