"""Cut training windows of slices out of cached volumes, and change them: place, shape, contrast, resolution, sides.

nnU-Net resamples and unpacks every slice to the training's resolution beforehand (204 GB for KiTS23 at 896 pixels).
Here a case keeps the rows and columns of its scan, and a window is read straight out of it: brought to the spec's
spacing, turned and scaled by one interpolation, at the places where a resampled copy would have had its voxels.
Everything random comes from one generator. The changes are near nnU-Net's, and the work is done as for volumes, by
what ``benchmarks/augmentation.py`` chose; or, where a recipe asks for it, they are nnU-Net's own
(``transforms.nnunet``), which cut the window out of a larger region and so interpolate twice. A deliberate
difference of both: four in five windows lie at a class (``crops.NEAR_A_CLASS``), each as often as another, not one
in three.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Integer, UInt8
from torch import Tensor
from torch.nn import functional

from vesalius.data.case import Case
from vesalius.data.crops import cases_by_group, draw_case, draw_centre
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.inference.slice_plan import filled_side
from vesalius.spec import ModelSpec
from vesalius.training.slice_recipes import SliceRecipe
from vesalius.transforms.artefacts import disturb_slices
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.deformation import rename, renamed, sample, window_points
from vesalius.transforms.degradation import degrade
from vesalius.transforms.intensity import Moments, normalise_hu_, slice_moments
from vesalius.transforms.nnunet import NnunetChanges, region_size

_AS_LARGE = 1e-4
"""Part by which pixels may differ and count as equally large: over 500 of them a twentieth of one."""


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
        cases: In the spec's orientation, slices along the last axis, at the spec's spacing along that; within them
            at ``Case.spacing_mm``, if that is stated, else at the spec's, too.
        spec: Says orientation, spacing, normalisation and classes, whose ids are numbered from 1 without a gap.
        recipe: Says everything else.
        mirrored: Class id -> the id it becomes when left and right are swapped, or UNKNOWN.

    Raises:
        UsageError: If cases and classes do not fit.
        MissingExtraError: If nnU-Net's augmentation is asked for and its library is not installed.
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
        window = recipe.window_size or spec.window_size[:2]
        self._size = (*window, recipe.slices)
        is_nnunet = recipe.augmentation == "nnunet"
        self._nnunet = NnunetChanges(window, slices=recipe.slices) if is_nnunet else None
        self._region = (*region_size(window), recipe.slices) if is_nnunet else self._size
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
        case = draw_case(self._groups, self._shares, rng)
        grid = grid_over(case, self._spec)
        centre = draw_centre(case, self._size, rng, grid=grid)
        codes = self._spec.orientation[:2]
        flips, across = rng.random(2) < self._recipe.mirror, np.array([code in "LR" for code in codes])
        if not renamed(case.annotated, self._mirrored):  # in a mirror nothing that was looked for has a name
            flips &= ~across
        signs = np.array([*np.where(flips, -1.0, 1.0), 1.0])
        points = window_points(centre, self._linear(rng) * signs, self._region)
        points = points if grid is None else _in_case(points, grid, case.labels.shape)
        labels = sample(case.labels, points, nearest=True, outside=0.0).to(torch.uint8)
        assert case.image_hu is not None
        image_hu = sample(case.image_hu, points, nearest=False, outside=self._spec.outside_hu)
        annotated = case.annotated
        if (flips & across).any():
            labels, annotated = rename(labels, self._mirrored), renamed(annotated, self._mirrored)
        moments = self._moments(case, grid, points[0, 0, :, 2])
        image, labels = self._changed(image_hu, labels, rng, moments=moments)
        looked_for = torch.tensor([label in annotated for label in range(1, self._classes + 1)])
        return CutSlices(
            image.permute(2, 0, 1)[:, None].contiguous(),
            labels.long().permute(2, 0, 1).contiguous(),
            torch.cat([torch.ones(1, dtype=torch.bool), looked_for]),
        )

    def _linear(self, rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
        """Draw how a window is turned and scaled as it is read; by nnU-Net it is afterwards."""
        config = self._recipe.augmentation
        return np.eye(3) if config == "nnunet" else slice_map(config, self._spec.spacing_mm, rng)

    def _changed(
        self,
        image_hu: Float[Tensor, "h w k"],
        labels: UInt8[Tensor, "h w k"],
        rng: np.random.Generator,
        *,
        moments: Moments | None,
    ) -> tuple[Float[Tensor, "rows columns k"], UInt8[Tensor, "rows columns k"]]:
        """Return a window as the network sees it, and its labels, changed."""
        spec, config = self._spec, self._recipe.augmentation
        if config == "nnunet":
            assert self._nnunet is not None
            image = normalise_hu_(image_hu, spec, moments=moments)
            is_normalised = spec.normalisation in ("fixed", "slice")
            return self._nnunet(image, labels, rng, is_normalised=is_normalised)
        image = normalise_hu_(degrade(image_hu, config, rng), spec, moments=moments)
        return disturb_slices(image, config, rng), labels

    def _moments(self, case: Case, grid: Grid | None, places: Float[Tensor, " k"]) -> Moments | None:
        """Return the moments of the slices at some places, if the network sees each by its own.

        They are taken as ``inference.slices`` does: of whole slices, filled up to a window; in a prepared case that
        stands for the air about the body, too, which was cut away. A window's own drift does not change them.
        """
        spec, shape = self._spec, case.labels.shape
        if spec.normalisation != "slice":
            return None
        numbers = places.round().long().clamp(0, shape[2] - 1)
        first, last = int(numbers.min()), int(numbers.max())
        assert case.image_hu is not None
        whole = torch.from_numpy(case.image_hu[:, :, first : last + 1].astype(np.float32))
        missing = []
        for own, length, side in zip(shape, shape if grid is None else grid.shape, self._size[:2], strict=False):
            filled = filled_side(length, side, spec.architecture.size_multiple)
            missing.append(round(own * filled / length) - own)
        whole = functional.pad(whole, (0, 0, 0, missing[1], 0, missing[0]), value=spec.outside_hu)
        return slice_moments(whole[:, :, numbers - first], spec.window_hu)


def grid_over(case: Case, spec: ModelSpec) -> Grid | None:
    """Return the grid of the spec's spacing over the slices of a case, its world being the case's voxels.

    It is the grid to which the case would be resampled (``Grid.respaced``). None: the case lies on it already.
    """
    if case.spacing_mm is None:
        return None
    factors = np.array([*(np.asarray(spec.spacing_mm[:2]) / case.spacing_mm[:2]), 1.0])
    if np.allclose(factors, 1.0, rtol=_AS_LARGE, atol=0.0):
        return None
    rows, columns, slices = case.labels.shape
    return Grid((rows, columns, slices), np.eye(4)).respaced(factors)


def _in_case(points: Float[Tensor, "i j k 3"], grid: Grid, shape: tuple[int, ...]) -> Float[Tensor, "i j k 3"]:
    """Return points of a grid over a case in the case's voxels; beyond the last centres, up to the faces, these."""
    places = torch.empty_like(points)
    for axis, sides in enumerate(shape):
        factor, offset = float(grid.affine[axis, axis]), float(grid.affine[axis, 3])
        place = points[..., axis] * factor + offset
        is_within = (place >= -0.5) & (place <= sides - 0.5)
        places[..., axis] = torch.where(is_within, place.clamp(0, sides - 1), place)
    return places


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
