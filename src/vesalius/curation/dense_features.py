"""Dense features of a frozen encoder over a whole scan, few channels wide and as coarse as the encoder left them.

VISTA3D (arXiv:2406.05285; its ``slic_process_sam.py``) sums the features of SAM, an encoder of photographs, over
slices along three axes. SAM does so here, or any encoder of the project: one of slices along three axes likewise,
one of volumes in windows. Deliberate differences: features keep the resolution the encoder gives them (SAM's at
most half the voxels' along each side) and are interpolated where they are needed: 32 channels of a whole scan, as
fine as its voxels, are 10 GB. They are reduced to their principal components, in a basis that all three axes share;
of SAM's 32, with as many ``channels``, that only turns them and scales them by one number. Slices lie as
radiologists see them, and SAM's are enlarged before they are filled up to a square, not afterwards.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import assert_never

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn import functional

from vesalius.geometry.affine import axes_between, scaling, translation
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import ORIENTATION
from vesalius.geometry.resample import resample_linear
from vesalius.models.build import AnyNetwork
from vesalius.models.meddinov3 import MedDino
from vesalius.models.prompted_vit import PromptedVit
from vesalius.models.sam import Sam
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import normalise_hu_, scale_hu_

FRAME = "RAS"
"""Orientation of the scans here."""

_LEVEL = 1
"""Of an encoder of volumes: half as fine as its voxels."""
_WINDOW_STEP = 0.75
"""Of a window's side: windows overlap by the rest, because their borders see less."""
_SAM_STEP = 2
"""Voxels, at least, that a cell of SAM's features is wide: finer ones are averaged. Its own are finer than the
voxels of most scans, and VISTA3D smooths them by three voxels before it divides."""
_SLICES_AT_ONCE = 4
"""Of transformers that see a few hundred pixels a side. SAM, which sees 1024, is shown one slice at a time."""
_SAMPLED_SLICES = 6
"""Along each axis, for the basis of the principal components."""
_SAMPLED_WINDOWS = 8

Volume3 = Float[Tensor, "i j k"]
_Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Features of a scan on voxels of their own, the first of which begin where the scan's do.

    Args:
        data: float16.
        step: How many voxels of the scan one of these is, along i, j and k.
    """

    data: Float[Tensor, "d x y z"]
    step: tuple[float, float, float]

    def within(self, shape: tuple[int, int, int], start: int) -> Float32[np.ndarray, "d i j k"]:
        """Return the features of so many voxels of the scan, from one of its slices on, interpolated."""
        steps = np.array(self.step)
        x, y, z = self.data.shape[1:]
        source = Grid((x, y, z), translation((steps - 1) / 2) @ scaling(steps))
        target = Grid(shape, translation((0.0, 0.0, float(start))))
        found = np.empty((len(self.data), *shape), np.float32)
        for channel, values in zip(found, self.data, strict=True):
            channel[:] = resample_linear(values.numpy(), source, target).numpy()
        return found


@dataclass(frozen=True, eq=False)
class Reduction:
    """To the principal components of features, scaled so that together they vary by 1 a channel.

    Args:
        mean: Of the features.
        basis: Components as columns, the first vary most.
    """

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d c"]

    @classmethod
    def fit(cls, samples: Float[Tensor, "n d"], channels: int) -> Reduction:
        """Return the reduction to at most so many channels that keeps most of the variance of samples."""
        mean = samples.mean(dim=0)
        centred = (samples - mean).double()
        variances, vectors = torch.linalg.eigh(centred.T @ centred / max(len(samples) - 1, 1))
        kept = min(channels, samples.shape[1])
        vectors = vectors[:, -kept:].flip(1)
        vectors = vectors * torch.sign(vectors[vectors.abs().argmax(dim=0), torch.arange(kept)])  # one sign each
        total = variances[-kept:].clamp_min(0).sum().clamp_min(1e-12)
        return cls(mean, (vectors * (kept / total).sqrt()).float())

    def apply(self, features: Float[Tensor, "d ..."]) -> Float[Tensor, "c ..."]:
        """Return features in the basis, in float16."""
        flat = features.flatten(1).float() - self.mean[:, None]
        return (self.basis.T @ flat).reshape(-1, *features.shape[1:]).half()


@torch.inference_mode()
def dense_features(
    network: AnyNetwork, spec: ModelSpec, scan_hu: Volume3, *, spacing_mm: float, channels: int
) -> tuple[FeatureMap, ...]:
    """Return the features of a scan, a map for each axis that an encoder of slices looks along, one for volumes.

    Args:
        network: Its encoder is used, nothing else of it.
        spec: Says what the encoder expects.
        scan_hu: In the orientation ``FRAME``, with voxels of equal sides.
        spacing_mm: The voxels' side.
        channels: At most so many principal components.
    """
    match network:
        case Vista3D():
            return (_of_windows(network, spec, scan_hu, spacing_mm, channels),)
        case Vit() | PromptedVit():
            return _of_slices(network, spec, scan_hu, spacing_mm, channels)
        case MedDino():
            return _of_slices(network.encoder, spec, scan_hu, spacing_mm, channels)
        case Sam():
            return _of_slices(network, spec, scan_hu, spacing_mm, channels)
        case _:
            assert_never(network)


def _of_slices(
    encoder: Vit | PromptedVit | Sam, spec: ModelSpec, scan_hu: Volume3, spacing_mm: float, channels: int
) -> tuple[FeatureMap, ...]:
    views = [_View(encoder, spec, scan_hu, codes, spacing_mm) for codes in ORIENTATION.values()]
    samples = [rearrange(one, "d y x -> (y x) d") for view in views for one in view.sampled()]
    reduction = Reduction.fit(torch.cat(samples), channels)
    maps = [view.features(reduction) for view in views]
    return tuple(FeatureMap(one, _step(scan_hu.shape, one.shape[1:])) for one in maps)


@dataclass(frozen=True)
class _Sight:
    """How an encoder sees slices of one size."""

    size: tuple[int, int]
    """Pixels to which they are brought: whole patches or cells, so that features cover a slice exactly."""
    encode: Callable[[Tensor], Tensor]  # [n 1 h w] -> [n d y x]
    at_once: int = _SLICES_AT_ONCE


def _sight_of_tokens(encoder: Vit | PromptedVit, spec: ModelSpec, sides_mm: tuple[float, float]) -> _Sight:
    """Return how a vision transformer sees slices: at the spacing that it learnt with."""
    patch = encoder.architecture.size_multiple
    height, width = (
        max(1, round(side / wanted / patch)) * patch
        for side, wanted in zip(sides_mm, spec.spacing_mm[:2], strict=True)
    )
    see = encoder.slice_tokens if isinstance(encoder, PromptedVit) else encoder
    return _Sight((height, width), lambda images: see(images)[0].feature_map)


def _sight_of_sam(network: Sam, spec: ModelSpec, shape: tuple[int, int]) -> _Sight:
    """Return how SAM sees slices: each fills its window as far as it can, beside and below it is black."""
    cell = network.architecture.patch_size // 4
    scale = min(whole / side for whole, side in zip(spec.window_size[:2], shape, strict=True))
    rows, columns = (max(1, round(side * scale / cell)) for side in shape)
    height, width = rows * cell, columns * cell
    kept = [min(cells, max(1, side // _SAM_STEP)) for cells, side in zip((rows, columns), shape, strict=True)]

    def encode(images: Tensor) -> Tensor:
        below, beyond = spec.window_size[0] - height, spec.window_size[1] - width
        found = network(functional.pad(images, (0, beyond, 0, below)))[:, :, :rows, :columns].float()
        return functional.interpolate(found, size=kept, mode="bilinear", antialias=True)

    return _Sight((height, width), encode, at_once=1)


class _View:
    """A scan as its slices along one axis, and the encoder that sees them."""

    def __init__(
        self, encoder: Vit | PromptedVit | Sam, spec: ModelSpec, scan_hu: Volume3, codes: str, spacing_mm: float
    ) -> None:
        self._device = next(encoder.parameters()).device
        self._spec = spec
        self._order, self._flips = axes_between(FRAME, codes)
        self._slices = _turned(scan_hu, self._order, self._flips)  # [h w n]
        height, width, self.count = self._slices.shape
        self._sight = (
            _sight_of_sam(encoder, spec, (height, width))
            if isinstance(encoder, Sam)
            else _sight_of_tokens(encoder, spec, (height * spacing_mm, width * spacing_mm))
        )
        self._sampled: dict[int, Tensor] = {}

    def sampled(self) -> Iterable[Float[Tensor, "d y x"]]:
        """Return what the encoder makes of a few slices, which ``features`` does not ask it for again."""
        numbers = _evenly(self.count, _SAMPLED_SLICES)
        self._sampled = dict(zip(numbers, self._encoded(numbers), strict=True))
        return self._sampled.values()

    def features(self, reduction: Reduction) -> Float[Tensor, "c x y z"]:
        """Return all slices' features, turned back as the scan lies."""
        known, numbers = self._sampled, range(self.count)
        others = self._encoded([number for number in numbers if number not in known])
        reduced = [reduction.apply(known[number] if number in known else next(others)) for number in numbers]
        back, flips = _inverse(self._order, self._flips)
        return torch.stack([_turned(channel, back, flips) for channel in torch.stack(reduced, 3)])

    def _encoded(self, numbers: Sequence[int]) -> Iterator[Float[Tensor, "d y x"]]:
        """Yield what the encoder makes of some slices."""
        for start in range(0, len(numbers), self._sight.at_once):
            some = self._slices[:, :, list(numbers[start : start + self._sight.at_once])].clone().float()
            image = normalise_hu_(some, self._spec).permute(2, 0, 1)[:, None]
            image = functional.interpolate(image, size=self._sight.size, mode="bilinear", antialias=True)
            yield from self._sight.encode(image.to(self._device)).float().cpu()


def _turned(data: Tensor, order: Sequence[int], flips: Sequence[bool]) -> Tensor:
    return data.permute(*order).flip([axis for axis in range(3) if flips[axis]])


def _inverse(order: Sequence[int], flips: Sequence[bool]) -> tuple[list[int], list[bool]]:
    back = [list(order).index(axis) for axis in range(3)]
    return back, [flips[axis] for axis in back]


def _of_windows(
    network: Vista3D, spec: ModelSpec, scan_hu: Volume3, spacing_mm: float, channels: int
) -> FeatureMap:
    """Return the features of windows, averaged where they overlap; the network sees voxels as it learnt them."""
    stride = 2**_LEVEL
    order, flips = axes_between(FRAME, spec.orientation)
    back, back_flips = _inverse(order, flips)
    sides_mm = np.array(spec.spacing_mm)[back]
    seen = _turned(_on_voxels(scan_hu, sides_mm / spacing_mm, stride), order, flips)
    padded = [max(pair) for pair in zip(spec.window_size, seen.shape, strict=True)]
    image = seen.new_zeros(padded)
    image[tuple(map(slice, seen.shape))] = scale_hu_(seen, spec.window_hu)

    def encoded(window: _Window) -> Float[Tensor, "d x y z"]:
        part = image[window][None, None].contiguous(memory_format=torch.channels_last_3d)
        found: Tensor = network.encoder(part.to(network.encoder.first_conv.weight))[_LEVEL][0]
        return found.float().cpu()

    windows = list(_windows(padded, spec.window_size, stride))
    some = [encoded(windows[n]).flatten(1)[:, ::7].T for n in _evenly(len(windows), _SAMPLED_WINDOWS)]
    reduction = Reduction.fit(torch.cat(some), channels)
    total = torch.zeros(reduction.basis.shape[1], *(side // stride for side in padded))
    count = torch.zeros(total.shape[1:])
    for window in windows:
        i, j, k = (slice(one.start // stride, one.stop // stride) for one in window)
        total[:, i, j, k] += reduction.apply(encoded(window))
        count[i, j, k] += 1
    i, j, k = (slice(side // stride) for side in seen.shape)
    found = (total / count)[:, i, j, k].half()
    x, y, z = (sides_mm * stride / spacing_mm).tolist()
    return FeatureMap(torch.stack([_turned(channel, back, back_flips) for channel in found]), (x, y, z))


def _on_voxels(scan_hu: Volume3, sides: Float64[np.ndarray, " 3"], multiple: int) -> Float[Tensor, "x y z"]:
    """Return a scan on voxels of other sides, in its own, that begin where it does; beyond its end is its border.

    Along each axis there are so many times a multiple of them.
    """
    i, j, k = scan_hu.shape
    lengths = (
        multiple * int(np.ceil(n / (multiple * side) - 1e-6)) for n, side in zip((i, j, k), sides, strict=True)
    )
    x, y, z = lengths
    target = Grid((x, y, z), translation((sides - 1) / 2) @ scaling(sides))
    return resample_linear(scan_hu.float().numpy(), Grid((i, j, k), np.eye(4)), target)


def _windows(shape: Sequence[int], size: Sequence[int], multiple: int) -> Iterator[_Window]:
    """Yield windows that cover a shape, on whole voxels of the features."""
    starts = []
    for whole, side in zip(shape, size, strict=True):
        step = max(multiple, int(side * _WINDOW_STEP) // multiple * multiple)
        starts.append(sorted({min(start, whole - side) for start in range(0, whole - side + step, step)}))
    for i, j, k in product(*starts):
        yield slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2])


def _evenly(count: int, most: int) -> list[int]:
    """Return at most so many numbers below a count, evenly apart."""
    chosen: list[int] = np.unique(np.linspace(0, count - 1, most).astype(int)).tolist()
    return chosen


def _step(shape: Sequence[int], cells: Sequence[int]) -> tuple[float, float, float]:
    i, j, k = (side / cell for side, cell in zip(shape, cells, strict=True))
    return i, j, k
