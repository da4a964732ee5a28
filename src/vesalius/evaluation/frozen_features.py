"""Frozen features: what an encoder of any kind, or none at all, says of the patches of slices and of whole images.

A patch of a slice is a square of the encoder's stride. A vision transformer sees each slice by itself. VISTA3D's
encoder sees windows of the volume, side by side; its levels are averaged down to the coarsest, and a slice reads
from the plane of features it lies in. ``Places`` looks at no voxel: what it answers is what an atlas would.

Where a spec normalises each slice by its own mean and deviation, they are those of what is given. A deliberate
difference from ``inference.slices``, which counts the air, too, that it fills up with: whole images of any scale
would drown in it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vesalius.checkpoints.load import load_any
from vesalius.data.case import Case
from vesalius.errors import UsageError
from vesalius.models.build import AnyNetwork, build, optimise_for_inference
from vesalius.models.meddinov3 import MedDino
from vesalius.models.prompted_vit import PromptedVit
from vesalius.models.sam import Sam
from vesalius.models.segresnet import Encoder
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit, VitTokens
from vesalius.spec import Architecture, MedDinoArchitecture, ModelSpec, PromptedVitArchitecture, VitArchitecture
from vesalius.transforms.intensity import as_hounsfield_, normalise_hu_

SLICES_AT_ONCE = 8
LEAST_PATCHES = 8
"""Patches along the shorter side of a whole image; smaller ones are enlarged."""
PLACES = 256
"""Waves that ``Places`` describes a place by."""
_WAVE_NUMBER = 4.0
"""Deviation of the waves' frequencies, in radians for half a scan: they tell places apart from a tenth of it."""
THUMBNAIL = 8
"""Pixels along each side of what ``Thumbnail`` sees."""


@runtime_checkable
class FrozenFeatures(Protocol):
    """Describes the patches of a case's slices."""

    @property
    def patch(self) -> int:
        """Pixels along each side of a patch."""
        ...

    def of_slices(self, case: Case, slices: Sequence[int]) -> Float[Tensor, "k d y x"]:
        """Return features of every patch of some slices; sides are filled up to whole patches at their far ends.

        Args:
            case: On the grid of the encoder's spec.
            slices: Numbers of slices, along the case's last axis.
        """
        ...


@runtime_checkable
class ImageFeatures(Protocol):
    """Describes whole images."""

    def of_images(self, images_hu: Float[Tensor, "b h w"]) -> Float[Tensor, "b d"]:
        """Return one vector for each image in Hounsfield units."""
        ...


@dataclass(frozen=True, eq=False)
class SliceEncoder:
    """A vision transformer.

    Args:
        network: In eval mode; with heads for prompts on it, the transformer that they stand on.
        spec: Says how values are normalised.
        taps: Numbers of the blocks whose features stand side by side.
    """

    network: Vit | PromptedVit
    spec: ModelSpec
    taps: tuple[int, ...]

    @property
    def patch(self) -> int:
        """Pixels along each side of a patch."""
        return self.network.architecture.size_multiple

    @torch.inference_mode()
    def of_slices(self, case: Case, slices: Sequence[int]) -> Float[Tensor, "k d y x"]:
        """Return features of every patch of some slices."""
        found = []
        for first in range(0, len(slices), SLICES_AT_ONCE):
            images = self._normalised(read_slices(case, slices[first : first + SLICES_AT_ONCE], self.spec))
            found.append(torch.cat([tap.feature_map for tap in self._tokens(images)], dim=1).float().cpu())
        return torch.cat(found)

    @torch.inference_mode()
    def of_images(self, images_hu: Float[Tensor, "b h w"]) -> Float[Tensor, "b d"]:
        """Return the class token and the mean of the patches, of every tap."""
        images = self._normalised(rearrange(enlarged(images_hu, self.patch), "b h w -> h w b").clone())
        found = []
        for first in range(0, len(images), SLICES_AT_ONCE):
            taps = self._tokens(images[first : first + SLICES_AT_ONCE])
            parts = [part for tap in taps for part in (tap.class_token, tap.patches.mean(dim=1))]
            found.append(torch.cat(parts, dim=1).float().cpu())
        return torch.cat(found)

    def _tokens(self, images: Float[Tensor, "k 1 h w"]) -> list[VitTokens]:
        encode = self.network.slice_tokens if isinstance(self.network, PromptedVit) else self.network
        found: list[VitTokens] = encode(images.to(next(self.network.parameters()).device), self.taps)
        return found

    def _normalised(self, slices_hu: Float[Tensor, "h w k"]) -> Float[Tensor, "k 1 h w"]:
        return rearrange(normalise_hu_(slices_hu, self.spec), "h w k -> k 1 h w")


@dataclass(frozen=True, eq=False)
class VolumeEncoder:
    """VISTA3D's encoder.

    Args:
        network: In eval mode.
        spec: Says how values are normalised, and the size of a window.
    """

    network: Encoder
    spec: ModelSpec

    @property
    def patch(self) -> int:
        """Voxels along each side of a patch."""
        return self.spec.vista.size_multiple

    @torch.inference_mode()
    def of_slices(self, case: Case, slices: Sequence[int]) -> Float[Tensor, "k d y x"]:
        """Return features of every patch of some slices; a window is encoded if one of them lies in it."""
        image = _case_image(case)
        i, j, k = self.spec.window_size
        rows, columns = (math.ceil(side / self.patch) for side in case.labels.shape[:2])
        height, width = (
            math.ceil(side / step) * step for side, step in zip(case.labels.shape, (i, j), strict=False)
        )
        found: dict[int, Tensor] = {}
        for start in range(0, case.labels.shape[2], k):
            wanted = [number for number in slices if start <= number < start + k]
            if not wanted:
                continue
            own = np.array(image[:, :, start : start + k], dtype=np.float32)  # not the case's
            slab = normalise_hu_(_in_hounsfield_(own, case, self.spec), self.spec)
            missing = (0, k - slab.shape[2], 0, width - slab.shape[1], 0, height - slab.shape[0])
            slab = functional.pad(slab, missing, value=float(slab.min()))
            planes = torch.cat(
                [
                    torch.cat([self._encoded(slab[a : a + i, b : b + j]) for b in range(0, width, j)], dim=2)
                    for a in range(0, height, i)
                ],
                dim=1,
            )  # [d y x z]
            for number in wanted:
                found[number] = planes[:, :rows, :columns, (number - start) // self.patch]
        return torch.stack([found[number] for number in slices])

    @torch.inference_mode()
    def of_images(self, images_hu: Float[Tensor, "b h w"]) -> Float[Tensor, "b d"]:
        """Return the mean of every level, of a thin volume that repeats the image."""
        images_hu = enlarged(images_hu, self.patch)
        sides = [math.ceil(side / self.patch) * self.patch for side in images_hu.shape[1:]]
        found = []
        for image in images_hu:
            volume = normalise_hu_(repeat(image, "h w -> h w k", k=self.patch).clone(), self.spec)
            missing = (0, 0, 0, sides[1] - volume.shape[1], 0, sides[0] - volume.shape[0])
            found.append(self._encoded(functional.pad(volume, missing)).mean(dim=(1, 2, 3)))
        return torch.stack(found)

    def _encoded(self, window: Float[Tensor, "i j k"]) -> Float[Tensor, "d y x z"]:
        """Return the features of a window, all levels at the stride of the coarsest."""
        seen = window[None, None].to(self.network.first_conv.weight)
        levels = self.network(seen.contiguous(memory_format=torch.channels_last_3d))
        strides = [window.shape[0] // level.shape[2] for level in levels]
        return torch.cat(
            [
                functional.avg_pool3d(level.float().cpu(), strides[-1] // stride)
                for level, stride in zip(levels, strides, strict=True)
            ],
            dim=1,
        )[0]


@dataclass(frozen=True)
class Places:
    """No encoder: where a patch lies in its scan, as waves of random directions (Rahimi & Recht 2007).

    Args:
        patch: Pixels along each side of a patch.
        seed: Of the waves.
    """

    patch: int
    seed: int = 0

    def of_slices(self, case: Case, slices: Sequence[int]) -> Float[Tensor, "k d y x"]:
        """Return features of every patch of some slices."""
        height, width, depth = case.labels.shape
        y, x = (
            (torch.arange(math.ceil(side / self.patch)) + 0.5) * self.patch / side * 2 - 1
            for side in (height, width)
        )
        z = (torch.tensor(list(slices)) + 0.5) / depth * 2 - 1
        generator = torch.Generator().manual_seed(self.seed)
        waves = torch.randn(PLACES, 3, generator=generator) * _WAVE_NUMBER
        phases = torch.rand(PLACES, generator=generator) * 2 * math.pi
        angles = (
            waves[:, 0, None, None] * z[:, None, None, None]
            + waves[:, 1, None, None] * y[:, None]
            + waves[:, 2, None, None] * x
        )
        return (angles + phases[:, None, None]).cos()


class Thumbnail:
    """No encoder: an image shrunk to a few pixels."""

    def of_images(self, images_hu: Float[Tensor, "b h w"]) -> Float[Tensor, "b d"]:
        """Return the means of the image's parts."""
        return functional.adaptive_avg_pool2d(images_hu[:, None], THUMBNAIL).flatten(1)


AnyEncoder = SliceEncoder | VolumeEncoder


def read_encoder(source: str | Path, *, taps: Sequence[int] | None = None) -> AnyEncoder:
    """Load the encoder of a model, frozen.

    Args:
        source: A catalog name, a model folder or a weights file.
        taps: Of a vision transformer, the numbers of the blocks whose features are looked at; None is the last.

    Raises:
        ModelError: If there is no such model, or its weights are refused.
        UsageError: If it has no such blocks.
    """
    loaded = load_any(source)
    return _encoder_of(loaded.network, loaded.spec, taps)


def untrained(encoder: AnyEncoder, *, seed: int = 0) -> AnyEncoder:
    """Return an encoder of the same sizes that has learnt nothing.

    A vision transformer's LayerScale is 1: with the 1e-5 that training begins at its blocks would do nothing, and
    the patches' colours would be compared, not random features.
    """
    spec = encoder.spec
    taps = encoder.taps if isinstance(encoder, SliceEncoder) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(_with_scale_of_one(spec.architecture))
    return _encoder_of(optimise_for_inference(network), spec, taps)


def _with_scale_of_one(
    architecture: Architecture,
) -> Architecture:
    match architecture:
        case VitArchitecture():
            return replace(architecture, layer_scale=1.0)
        case MedDinoArchitecture() | PromptedVitArchitecture():
            return replace(architecture, encoder=replace(architecture.encoder, layer_scale=1.0))
        case _:
            return architecture


def _encoder_of(network: AnyNetwork, spec: ModelSpec, taps: Sequence[int] | None) -> AnyEncoder:
    if isinstance(network, Vista3D):
        if taps is not None:
            raise UsageError(
                expected="a vision transformer, whose blocks can be chosen",
                got=f"{spec.name}, a network of volumes",
                do="leave the taps out: all levels are looked at",
            )
        return VolumeEncoder(network.encoder, spec)
    if isinstance(network, Sam):
        raise UsageError(
            expected="an encoder of scans: a backbone, a model of slices, or VISTA3D's network",
            got=f"{spec.name}, SAM's encoder of photographs, which is here for supervoxels",
            do="name another model: `vesalius models list`",
        )
    encoder = network.encoder if isinstance(network, MedDino) else network
    vit = encoder.encoder.encoder if isinstance(encoder, PromptedVit) else encoder
    depth = vit.architecture.depth
    chosen = (depth - 1,) if taps is None else tuple(taps)
    if not chosen or any(not 0 <= tap < depth for tap in chosen):
        raise UsageError(
            expected=f"numbers of blocks from 0 to {depth - 1}", got=str(list(chosen)), do="choose other taps"
        )
    return SliceEncoder(encoder, spec, chosen)


def enlarged(images: Float[Tensor, "b h w"], patch: int) -> Float[Tensor, "b y x"]:
    """Return images of at least ``LEAST_PATCHES`` along each side: smaller ones are interpolated."""
    factor = LEAST_PATCHES * patch / min(images.shape[1:])
    if factor <= 1:
        return images
    size = [round(side * factor) for side in images.shape[1:]]
    return functional.interpolate(images[:, None], size=size, mode="bilinear")[:, 0]


def read_slices(case: Case, slices: Sequence[int], spec: ModelSpec) -> Float[Tensor, "h w k"]:
    """Return slices of a case in Hounsfield units, those of an image without a unit as the spec has them."""
    return _in_hounsfield_(_case_image(case)[:, :, list(slices)], case, spec)  # which copies them


def _in_hounsfield_(part: np.ndarray, case: Case, spec: ModelSpec) -> Float[Tensor, "h w k"]:
    """Return a part of a case's image, which may be written over."""
    values = torch.from_numpy(np.asarray(part, dtype=np.float32))
    return values if case.window is None else as_hounsfield_(values, case.window, spec.window_hu)


def _case_image(case: Case) -> np.ndarray:
    if case.image_hu is None:
        raise UsageError(expected="a case with an image", got=f"{case.name} without", do="leave it out")
    return case.image_hu[:, :, :]
