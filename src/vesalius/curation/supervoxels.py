"""Supervoxels: parts of a scan that belong together, without names, from dense features of a frozen encoder.

After VISTA3D (arXiv:2406.05285; its ``slic_process_sam.py``): SLIC on features summed over three axes, air set to
0. Training makes objects of them that nobody named, so that clicks are heeded. Deliberate differences: any encoder
serves; SLIC runs on slabs that overlap, whose parts go on under one number, so that memory does not grow with the
scan; it runs on voxels of equal sides, not on the scanner's, and smooths by one of them, not by three; a scan that
fails is named instead of skipped.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Num, UInt16
from torch import Tensor

from vesalius.checkpoints.identity import expectations_sha256
from vesalius.checkpoints.load import Loaded
from vesalius.curation.dense_features import FRAME, FeatureMap, dense_features
from vesalius.curation.jobs import Outcome, alone, carry_out, folder_name, refuse_begun, training_cases
from vesalius.curation.new_list import refuse_foreign, write_beside
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.reading import read_image
from vesalius.errors import InputError, MissingExtraError, UsageError, install_line
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components, eroded
from vesalius.geometry.resample import axis_maps, is_orthogonal, resample_linear, resample_points
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.hounsfield import OPEN_AIR_HU
from vesalius.io.formats import write
from vesalius.models.build import AnyNetwork
from vesalius.shapes import MaskArray
from vesalius.transforms.intensity import not_hounsfield

FILE = "supervoxels.nii.gz"

_FORMAT = 2
_CLOSING = 3
"""Voxels by which outer air is grown and shrunk again, to take in thin things that lie in it."""
_OVERLAP = 4
"""Slices that neighbouring slabs share."""
_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True, kw_only=True)
class SupervoxelSettings:
    """How a scan is divided."""

    segments: int = 400
    """About so many parts in a scan, as VISTA3D's script has it, air included."""
    compactness: float = 0.01
    """What a step of one part's size weighs against features that vary by 1 a channel."""
    sigma: float = 1.0
    """Width of the Gaussian that smooths features, in voxels."""
    channels: int = 16
    """Principal components of the features that are used."""
    spacing_mm: float = 1.5
    """Side of the voxels that are divided."""
    slab_voxels: int = 1 << 21
    """Voxels that are divided at once: the memory of SLIC grows with these, not with the scan."""

    def __post_init__(self) -> None:
        numbers = (self.segments, self.channels, self.slab_voxels)
        if min(numbers) < 1 or min(self.compactness, self.spacing_mm) <= 0 or self.sigma < 0:
            raise UsageError(
                expected="positive numbers of segments, channels and voxels, compactness and spacing",
                got=str(self),
                do="change the settings",
            )


def curate_supervoxels(
    listed: DataList,
    store: Path,
    model: Loaded[AnyNetwork],
    *,
    model_sha256: str,
    settings: SupervoxelSettings | None = None,
    resume: bool = False,
    on_case: Callable[[Outcome], None] = lambda _: None,
) -> tuple[tuple[Outcome, ...], Path]:
    """Divide the training scans of a list, and write a list that has their supervoxels.

    Args:
        listed: The list; cases that are not for training are handed on as they are.
        store: A folder, for the maps; the new list is written beside it, as ``<store>.json``.
        model: Whose encoder is used.
        model_sha256: Of its weights: what is there from others, or from another spec, is made again.
        settings: How scans are divided.
        resume: Go on in a store that is there.
        on_case: Told of every scan.

    Returns:
        What became of each scan, and the new list.

    Raises:
        UsageError: If the store is there and is not to be resumed, the new list would replace one that no job in
            the store wrote, or nothing is for training.
        MissingExtraError: If scikit-image is not installed.
        InterruptedRun: If somebody stopped it.
        DiskError: If it cannot be written.
    """
    settings = settings or SupervoxelSettings()
    _segmentation()
    cases = training_cases(listed)
    refuse_begun(store, resume=resume)
    refuse_foreign(store, listed)
    cache = Cache(store)

    def key(case: ListedCase) -> str:  # no device: encoders compute in float32 on all
        facts = {"format": _FORMAT, "image": cache.sha256(case.image), "model": model_sha256, **asdict(settings)}
        return folder_name(case, {**facts, "expects": expectations_sha256(model.spec)})

    def make(case: ListedCase, folder: Path) -> None:
        volume = read_image(case, listed.modality)
        write(supervoxels_of(volume, model, settings), folder / FILE)

    outcomes = carry_out(cases, cache, key=key, make=make, on_case=on_case)
    made = {one.case.name: one.folder / FILE for one in outcomes if one.folder is not None}
    kept = [replace(case, supervoxels=made.get(case.name, case.supervoxels)) for case in listed.cases]
    with alone(store):
        path = write_beside(store, replace(listed, cases=tuple(kept)))
    return outcomes, path


def supervoxels_of(volume: Volume, model: Loaded[AnyNetwork], settings: SupervoxelSettings) -> LabelMap:
    """Divide a scan.

    Args:
        volume: A CT of one channel.
        model: Whose encoder is used.
        settings: How.

    Returns:
        Numbers from 1 on the volume's own grid, uint16; 0 is the air around the body.

    Raises:
        InputError: If the volume is no CT of one channel.
    """
    reason = f"{len(volume.data)} channels" if len(volume.data) != 1 else not_hounsfield(volume.data[0])
    if reason is not None:
        raise InputError(
            expected="a CT of one channel, in Hounsfield units", got=reason, do="take the case out of the list"
        )
    scan_hu, grid = _on_cubes(volume, settings.spacing_mm)
    maps = dense_features(
        model.network, model.spec, scan_hu, spacing_mm=settings.spacing_mm, channels=settings.channels
    )
    numbers = divided(maps, grid.shape, settings)
    numbers[outer_air(scan_hu.numpy())] = 0
    return LabelMap(_on_own_grid(numbers, grid, volume.grid), volume.grid, {})


def _on_cubes(volume: Volume, spacing_mm: float) -> tuple[Tensor, Grid]:
    """Return a scan on voxels of equal sides, in the orientation of the features."""
    sides = (spacing_mm, spacing_mm, spacing_mm)
    if not is_orthogonal(volume.grid):
        target = volume.grid.upright().reoriented(FRAME).respaced(sides)
        outside = float(volume.data.min())
        return torch.from_numpy(resample_points(volume.data[0], volume.grid, target, outside=outside)), target
    turned = volume.reoriented(FRAME)
    target = turned.grid.respaced(sides)
    return resample_linear(turned.data[0], turned.grid, target), target


def _on_own_grid(numbers: UInt16[np.ndarray, "i j k"], grid: Grid, own: Grid) -> UInt16[np.ndarray, "x y z"]:
    if not is_orthogonal(own):
        return resample_points(numbers, grid, own, nearest=True)
    target = own.reoriented(FRAME)
    nearest = [axis.nearest().numpy() for axis in axis_maps(grid, target)]
    moved = LabelMap(np.ascontiguousarray(numbers[np.ix_(*nearest)]), target, {})
    return np.ascontiguousarray(moved.reoriented(own.axis_codes).data)


def divided(
    maps: Sequence[FeatureMap], shape: tuple[int, int, int], settings: SupervoxelSettings
) -> UInt16[np.ndarray, "i j k"]:
    """Divide a scan by its features, summed over the maps, slab by slab.

    Args:
        maps: Of the whole scan.
        shape: Its voxels.
        settings: How.

    Returns:
        Numbers from 1, every voxel in one part.
    """
    numbers = np.zeros(shape, np.uint16)
    used = 0
    for start, stop in slabs(shape, settings.slab_voxels):
        size = (shape[0], shape[1], stop - start)
        features = maps[0].within(size, start)
        for one in maps[1:]:
            features += one.within(size, start)
        share = (stop - start) / shape[2]
        found = _slic(features, max(1, round(settings.segments * share)), settings)
        before = numbers[:, :, start : min(start + _OVERLAP, stop)] if start else None
        renamed, used = continued(found, before, used)
        kept = start + (_OVERLAP // 2 if start else 0)
        numbers[:, :, kept:stop] = renamed[:, :, kept - start :]
    return numbers


def slabs(shape: tuple[int, int, int], most_voxels: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where each slab goes: at most so many voxels, and each shares slices with the next."""
    thickness = max(2 * _OVERLAP, most_voxels // (shape[0] * shape[1]))
    start = 0
    while start + thickness < shape[2]:
        yield start, start + thickness
        start += thickness - _OVERLAP
    yield start, shape[2]


def continued(
    found: Int32[np.ndarray, "i j k"], before: UInt16[np.ndarray, "i j m"] | None, used: int
) -> tuple[UInt16[np.ndarray, "i j k"], int]:
    """Give the parts of a slab their numbers: that of a part of the slab before which they go on, or a new one.

    A part goes on another if, in the slices that both slabs have, most of either lies in the other.

    Args:
        found: Numbers from 1 in this slab.
        before: Numbers of the slab before, in this one's first slices.
        used: The largest number so far.

    Returns:
        The numbers, and the largest of them so far.
    """
    names = np.zeros(int(found.max()) + 1, np.int64)
    if before is not None:
        shared = found[:, :, : before.shape[2]]
        pairs, counts = np.unique(np.stack([shared.ravel(), before.ravel()]), axis=1, return_counts=True)
        sizes, old_sizes = np.bincount(shared.ravel(), minlength=len(names)), np.bincount(before.ravel())
        for (new, old), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            if old and 2 * count > max(sizes[new], old_sizes[old]):
                names[new] = old
    fresh = np.setdiff1d(np.unique(found), np.flatnonzero(names))
    if used + len(fresh) > _MOST:
        raise UsageError(
            expected=f"at most {_MOST} supervoxels in a scan",
            got="more",
            do="ask for fewer segments, or larger slabs",
        )
    names[fresh] = used + 1 + np.arange(len(fresh))
    return names[found].astype(np.uint16), used + len(fresh)


def _slic(
    features: Float32[np.ndarray, "d i j k"], segments: int, settings: SupervoxelSettings
) -> Int32[np.ndarray, "i j k"]:
    found = _segmentation().slic(
        features,
        n_segments=segments,
        compactness=settings.compactness,
        sigma=settings.sigma,
        channel_axis=0,
        start_label=1,
        convert2lab=False,
    )
    return np.asarray(found, dtype=np.int32)


def outer_air(scan_hu: Num[np.ndarray, "i j k"]) -> MaskArray:
    """Return the air around a body: the largest piece below ``OPEN_AIR_HU``, with what is thin in it."""
    numbered, count = components(np.asarray(scan_hu < OPEN_AIR_HU))
    if not count:
        return np.zeros(scan_hu.shape, bool)
    sizes = np.bincount(numbered.ravel())
    air: MaskArray = np.asarray(numbered == int(sizes[1:].argmax()) + 1)
    for _ in range(_CLOSING):
        air = ~eroded(~air, outside=True)
    for _ in range(_CLOSING):
        air = eroded(air, outside=True)
    return air


def _segmentation() -> Any:
    try:
        return importlib.import_module("skimage.segmentation")
    except ImportError:
        raise MissingExtraError(
            expected="scikit-image, which divides scans into supervoxels",
            got="a Python without it",
            do=install_line("train"),
        ) from None
