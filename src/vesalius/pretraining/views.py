"""Views: global and local crops of slices, each seen a little differently, and what of them is hidden.

Multi-crop of Caron et al. 2020, arXiv:2006.09882, with the areas and sizes of DINOv3. A slice stays in Hounsfield
units until a view is cut; views of one size are one array, so that they pass a network together. All is computed on
the device the slices are on; what is drawn comes from a numpy generator, so the same is drawn everywhere.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vesalius.hounsfield import BODY_HU
from vesalius.pretraining.distortions import Picture, distorted, drifted
from vesalius.pretraining.masks import draw_masks
from vesalius.pretraining.settings import Cropping, Distortion, Masking, Range, Resolution
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import Moments, normalise_hu_, slice_moments

_TRIES = 10
"""Shapes of a crop that are drawn before the largest that fits is taken."""


class Crop(NamedTuple):
    """A box of pixels, perhaps to be mirrored."""

    top: int
    left: int
    height: int
    width: int
    is_flipped: bool = False


@dataclass(frozen=True, eq=False)
class Views:
    """One batch: every slice in several views, normalised."""

    global_views: Float[Tensor, "v b 1 h w"]
    local_views: Float[Tensor, "l b 1 y x"]
    gram_views: Float[Tensor, "v b 1 p r"] | None
    """The global views again, undistorted, for a Gram teacher."""
    is_masked: Bool[Tensor, "vb t"]
    """Patches hidden from the student: of the first global view of every slice, then of the second."""
    seed: int
    """Of what is random in the student itself."""

    def to(self, device: torch.device) -> Views:
        """Return the views on a device."""
        gram = None if self.gram_views is None else self.gram_views.to(device)
        parts = (self.global_views.to(device), self.local_views.to(device), gram, self.is_masked.to(device))
        return Views(*parts, self.seed)


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """Everything that decides how views look, but their sizes."""

    cropping: Cropping
    distortion: Distortion
    masking: Masking
    patch_size: int
    wants_gram: bool = False
    """Whether undistorted views are wanted, too."""


def draw_views(
    slices_hu: Sequence[Float[Tensor, "_ _"]],
    spec: ModelSpec,
    resolution: Resolution,
    settings: ViewSettings,
    rng: np.random.Generator,
) -> Views:
    """Cut and change views of a batch of slices.

    Args:
        slices_hu: In Hounsfield units, each of any size.
        spec: Says what the network sees of Hounsfield units.
        resolution: Sizes of the views.
        settings: How they are cut, changed and masked.
        rng: Decides all of it.
    """
    cropping = settings.cropping
    wide: list[list[Tensor]] = [[] for _ in range(cropping.global_views)]
    narrow: list[list[Tensor]] = [[] for _ in range(cropping.local_views)]
    plain: list[list[Tensor]] = [[] for _ in range(cropping.global_views)]
    gram_size = resolution.gram_size or resolution.global_size
    for slice_hu in slices_hu:
        box = body_box(slice_hu) if cropping.within_body else Crop(0, 0, *slice_hu.shape)
        look = _Look(slice_hu, spec, settings.distortion, rng)
        for views, clean in zip(wide, plain, strict=True):
            crop = draw_crop(box, cropping.global_area, cropping, rng)
            views.append(look(crop, resolution.global_size))
            if settings.wants_gram:
                clean.append(look.undistorted(crop, gram_size))
        for views in narrow:
            views.append(look(draw_crop(box, cropping.local_area, cropping, rng), resolution.local_size))
    side = math.ceil(resolution.global_size / settings.patch_size)
    masks = draw_masks(cropping.global_views * len(slices_hu), (side, side), settings.masking, rng)
    size = resolution.local_size
    return Views(
        global_views=_stacked(wide),
        local_views=_stacked(narrow) if narrow else slices_hu[0].new_zeros(0, len(slices_hu), 1, size, size),
        gram_views=_stacked(plain) if settings.wants_gram else None,
        is_masked=torch.from_numpy(masks).to(slices_hu[0].device),
        seed=int(rng.integers(2**63)),
    )


def undistorted_view(slice_hu: Float[Tensor, "_ _"], spec: ModelSpec, *, size: int) -> Float[Tensor, "1 h w"]:
    """Return the middle square of a slice as the network sees it in the whole slice, ``size`` pixels a side."""
    height, width = slice_hu.shape
    side = min(height, width)
    crop = Crop((height - side) // 2, (width - side) // 2, side, side)
    return normalised(resized(slice_hu, crop, size), spec, moments=_moments(slice_hu, spec))[None]


class _Look:
    """How one slice looks in each of its views.

    A network that normalises slice by slice sees the whole of one: moments are the slice's, not those of a view.
    They are taken before a drift, which they would take back. A deliberate difference from ``inference.slices``:
    there they count the air, too, that a slice is filled up with to whole patches and at least a window; views are
    squares of the slice alone, at scales of their own. So a slice smaller than a window is normalised otherwise.
    """

    def __init__(self, slice_hu: Tensor, spec: ModelSpec, distortion: Distortion, rng: np.random.Generator) -> None:
        self._spec, self._distortion, self._rng = spec, distortion, rng
        self._slice_hu, self._moments = slice_hu, _moments(slice_hu, spec)
        self._shared = self._changed(slice_hu) if distortion.shared else None

    def __call__(self, crop: Crop, size: int) -> Picture:
        if self._shared is not None:
            return resized(self._shared, crop, size)
        return self._changed(resized(self._slice_hu, crop, size))

    def undistorted(self, crop: Crop, size: int) -> Picture:
        """Return a view of the slice as it is; but what is shared by all views is shared by this one, too."""
        if self._shared is not None:
            return resized(self._shared, crop, size)
        return normalised(resized(self._slice_hu, crop, size), self._spec, moments=self._moments)

    def _changed(self, image_hu: Picture) -> Picture:
        image_hu = drifted(image_hu, self._distortion, self._rng)
        image = normalised(image_hu, self._spec, moments=self._moments)
        return distorted(image, self._distortion, self._rng)


def body_box(slice_hu: Float[Tensor, "h w"]) -> Crop:
    """Return the box around all that is denser than air and lung; without anything that is, the whole slice."""
    dense = slice_hu > BODY_HU
    rows, columns = dense.any(dim=1).nonzero(), dense.any(dim=0).nonzero()
    if not len(rows):
        return Crop(0, 0, *slice_hu.shape)
    top, left = int(rows[0]), int(columns[0])
    return Crop(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)


def draw_crop(within: Crop, area: Range, settings: Cropping, rng: np.random.Generator) -> Crop:
    """Draw a crop of a box, of a part of its area and of a shape that is drawn."""
    stretch = abs(math.log(settings.narrowest))
    for _ in range(_TRIES):
        pixels = rng.uniform(*area) * within.height * within.width
        aspect = math.exp(rng.uniform(-stretch, stretch))
        height, width = max(1, round(math.sqrt(pixels * aspect))), max(1, round(math.sqrt(pixels / aspect)))
        if height <= within.height and width <= within.width:
            break
    else:  # the box is narrower than any shape of this area
        height, width = min(height, within.height), min(width, within.width)
    top = within.top + int(rng.integers(within.height - height + 1))
    left = within.left + int(rng.integers(within.width - width + 1))
    return Crop(top, left, height, width, bool(rng.random() < settings.flip))


def resized(image: Picture, crop: Crop, size: int) -> Float[Tensor, "s s"]:
    """Return a crop as a square, by bicubic interpolation that averages where it shrinks."""
    part = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    square = functional.interpolate(part[None, None], size=(size, size), mode="bicubic", antialias=True)[0, 0]
    return square.flip(1) if crop.is_flipped else square


def normalised(image_hu: Picture, spec: ModelSpec, *, moments: Moments | None = None) -> Picture:
    """Return an image as the network of a spec sees it, by the moments of the slice that it is a part of."""
    return normalise_hu_(image_hu.clone()[:, :, None], spec, moments=moments)[:, :, 0]


def _moments(slice_hu: Picture, spec: ModelSpec) -> Moments | None:
    """Return the moments of a whole slice, where its normalisation asks for them."""
    return slice_moments(slice_hu[:, :, None], spec.window_hu) if spec.normalisation == "slice" else None


def _stacked(views: Sequence[Sequence[Tensor]]) -> Float[Tensor, "v b 1 h w"]:
    return torch.stack([torch.stack(list(view)) for view in views])[:, :, None]
