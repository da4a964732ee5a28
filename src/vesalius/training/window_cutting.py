"""Cut training windows from cases, and change them: place, shape, contrast, resolution, sides.

Everything random about a window comes from one generator. Image, labels and supervoxels move together.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from vesalius.data.case import LARGEST_CLASS, UNKNOWN, Case
from vesalius.data.crops import cases_by_group, draw_case, draw_centre
from vesalius.errors import UsageError
from vesalius.hounsfield import LOWEST_HU
from vesalius.spec import ModelSpec
from vesalius.training.overlaps import Overlaps
from vesalius.training.painted_lumps import paint_lumps
from vesalius.training.pseudo_targets import believed, filled
from vesalius.training.recipes import VistaRecipe
from vesalius.transforms.artefacts import disturb
from vesalius.transforms.deformation import (
    end_early,
    random_bend,
    random_map,
    rename,
    renamed,
    sample,
    window_points,
)
from vesalius.transforms.degradation import degrade
from vesalius.transforms.intensity import as_hounsfield_, scale_hu_

Painter = Callable[[UInt8[Tensor, "i j k"], np.random.Generator], Float[Tensor, "i j k"]]
"""From a window of tissue ids to Hounsfield units."""
Recontrast = Callable[[Float[Tensor, "i j k"], UInt8[Tensor, "i j k"], np.random.Generator], Float[Tensor, "i j k"]]
"""From a window and its labels to the same window in another phase of contrast, say."""

_IDS = 256
"""Class ids are below: whether a model was unsure travels with them as this, and a supervoxel's number as twice
this, through what cuts all of them."""


@dataclass(frozen=True, eq=False)
class CutWindow:
    """A window before anything is asked of it.

    Args:
        image: Intensities in 0..1.
        labels: Class ids, UNKNOWN, UNSURE, 0.
        supervoxels: Their numbers, 0 in air; None where the case has none.
        annotated: Class ids that were looked for in its case, by people or a model, as they are called in this
            window.
        group: Where the case comes from.
        claimed: Those of them that only a model looked for; of these nothing is known where it was UNSURE.
        lumps: Numbers of what was painted into it; None where nothing was.
        unsure: Where a model looked and was not sure, whatever people drew there; None where none looked.
    """

    image: Float[Tensor, "1 i j k"]
    labels: Integer[Tensor, "i j k"]
    supervoxels: Integer[Tensor, "i j k"] | None
    annotated: frozenset[int]
    group: str
    claimed: frozenset[int] = frozenset()
    lumps: Integer[Tensor, "i j k"] | None = None
    unsure: Bool[Tensor, "i j k"] | None = None


class WindowCutter:
    """Cases to cut windows from; its arguments are those of ``Vista3DTask``.

    Raises:
        UsageError: If cases, groups and window do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        spec: ModelSpec,
        *,
        recipe: VistaRecipe,
        mirrored: Mapping[int, int] | None = None,
        paint: Painter | None = None,
        recontrast: Mapping[str, Recontrast] | None = None,
    ) -> None:
        cases = believed(cases, pseudo_labels=recipe.pseudo_labels, novel=frozenset(recipe.novel))
        counts = Counter(case.group for case in cases)
        self._shares = recipe.shares or {group: float(count) for group, count in counts.items()}
        self._groups = cases_by_group(cases, self._shares)
        self._spec, self._recipe, self._paint = spec, recipe, paint
        self._mirrored, self._recontrast = dict(mirrored or {}), dict(recontrast or {})
        self._overlaps = Overlaps.of(spec.vocabulary, novel=recipe.novel)
        self._kept_out = self._overlaps.kept_out
        clicked = [case for case in cases if self._shares[case.group] > 0 and self._holds_an_object(case)]
        self._with_objects = cases_by_group(clicked, self._shares) if clicked else {}
        self._clicked_shares = {  # each of these cases as often, beside the others, as it is drawn among all cases
            group: self._shares[group] * len(some) / counts[group] for group, some in self._with_objects.items()
        }
        pictureless = [case.name for case in cases if case.image_hu is None and paint is None]
        if pictureless:
            raise _refused("a way to paint cases that have no image", pictureless[0])
        multiple = spec.vista.size_multiple
        if any(side % multiple for side in recipe.window_size):
            raise _refused(f"window sides that are multiples of {multiple}", recipe.window_size)

    @property
    def has_objects(self) -> bool:
        """Whether some case that is ever drawn holds something to click on."""
        return bool(self._with_objects)

    def cut(self, rng: np.random.Generator, *, lumps: int = 0, with_objects: bool = False) -> CutWindow:
        """Draw a case, cut a window from it, paint so many lumps into it, and change it.

        Args:
            rng: Where everything random comes from.
            lumps: How many are painted.
            with_objects: Draw among the cases that hold something to click on; there is one.
        """
        recipe = self._recipe
        if with_objects:
            case = draw_case(self._with_objects, self._clicked_shares, rng)
        else:
            case = draw_case(self._groups, self._shares, rng)
        centre = draw_centre(case, recipe.window_size, rng)
        is_mirrored = rng.random() < recipe.mirror.get(case.group, 0.0) and self._is_named_in_a_mirror(case)
        points = self._points(centre, rng, is_mirrored=is_mirrored)
        image_hu, labels, unsure = self._shown(case, points, rng)
        annotated, claimed = case.annotated, self._claimed(case)
        labels = rename(labels, self._kept_out)
        if is_mirrored:  # what was the other side may be novel on this one
            labels = rename(rename(labels, self._mirrored), self._kept_out)
            annotated, claimed = (renamed(some, self._mirrored) for some in (annotated, claimed))
        labels = labels.long()
        if unsure is not None:
            labels = labels + _IDS * unsure
        if case.supervoxels is not None:
            numbers = sample(case.supervoxels, points, nearest=True, outside=0.0).long()
            labels = labels + 2 * _IDS * numbers
        image_hu, labels = end_early(image_hu, labels, recipe.augmentation, rng)
        painted: Tensor | None = None
        if lumps:
            image_hu, painted = paint_lumps(image_hu, self._spec.spacing_mm, lumps, rng)
        image = scale_hu_(degrade(image_hu, recipe.augmentation, rng), self._spec.window_hu)
        image = disturb(image, recipe.augmentation, rng)
        supervoxels = None if case.supervoxels is None else labels // (2 * _IDS)
        if unsure is not None:
            unsure = labels // _IDS % 2 == 1
        asked, claimed = ((some - set(recipe.novel)) for some in (annotated | claimed, claimed))
        return CutWindow(image[None], labels % _IDS, supervoxels, asked, case.group, claimed, painted, unsure)

    def _is_named_in_a_mirror(self, case: Case) -> bool:
        """Say whether a mirrored window of a case has a name left, or else there is nothing to learn from it."""
        return bool(renamed(case.annotated | self._claimed(case), self._mirrored))

    def _claimed(self, case: Case) -> frozenset[int]:
        """Return the classes of a case that only a model looked for, and that the network can be asked for."""
        return frozenset(case.claimed) & self._overlaps.trainable

    def _holds_an_object(self, case: Case) -> bool:
        """Say whether a class was found in a case that was looked for, and that the network can be asked for."""
        claimed, trainable = self._claimed(case), self._overlaps.trainable
        held = {self._kept_out.get(label, label) for label in case.drawn} | claimed
        return any(self._overlaps.voxels_of(label) & held for label in case.annotated & trainable | claimed)

    def _points(self, centre: np.ndarray, rng: np.random.Generator, *, is_mirrored: bool) -> Tensor:
        """Return where each voxel of a window lies in its case."""
        config, spacing_mm, size = self._recipe.augmentation, self._spec.spacing_mm, self._recipe.window_size
        linear = random_map(config, spacing_mm, rng)
        sides = np.array([-1.0 if is_mirrored and code in "LR" else 1.0 for code in self._spec.orientation])
        points = window_points(centre, linear * sides, size)
        bend = random_bend(config, spacing_mm, size, rng)
        return points if bend is None else points + bend

    def _shown(
        self, case: Case, points: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Bool[Tensor, "i j k"] | None]:
        """Return a window in Hounsfield units, class ids as before mirroring, and where a model was not sure."""
        labels = sample(case.labels, points, nearest=True, outside=0.0).to(torch.uint8)
        unsure: Tensor | None = None
        if case.pseudo_labels is not None:
            found = sample(case.pseudo_labels, points, nearest=True, outside=0.0).to(torch.uint8)
            labels = filled(labels, found, self._claimed(case), self._overlaps.includes)
            unsure = found == UNKNOWN
        if case.image_hu is not None:
            image_hu = sample(case.image_hu, points, nearest=False, outside=(case.window or (LOWEST_HU,))[0])
            if case.window is not None:
                image_hu = as_hounsfield_(image_hu, case.window, self._spec.window_hu)
            if case.group in self._recontrast:
                image_hu = self._recontrast[case.group](image_hu, labels, rng)
            return image_hu, labels, unsure
        assert self._paint is not None
        is_tissue = (labels > LARGEST_CLASS) & (labels != UNKNOWN)
        return self._paint(labels, rng), labels.masked_fill(is_tissue, 0), unsure


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="prepare the cases for this model, or change the recipe")
