"""The slice factory: a scan -> one shard of its slices, in one orientation, at one spacing, in Hounsfield units.

After CT-3M (MedDINOv3, arXiv:2509.02379), of which only a sample was published, and the factory of its successor
FlexiCT: one orientation for all, 1.5 mm, slices without a body dropped. Deliberate differences: slices are not
interpolated between (FlexiCT resamples along the scanner's axis, too), Hounsfield units are kept as integers, and
no segmentation has to be there to tell what a slice shows.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16, Num
from torch.nn import functional

from vesalius.curation.body_region import areas_cm2, body_mask, regions_of, slice_box
from vesalius.data.cache import Cache, key_of
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.likeness import pictures_in_windows, pictures_of
from vesalius.data.reading import read_image
from vesalius.data.slices import Region, sha256_of
from vesalius.errors import InputError, UsageError
from vesalius.geometry.planes import ORIENTATION, Plane
from vesalius.geometry.volume import Volume
from vesalius.hounsfield import HIGHEST_HU, LOWEST_HU
from vesalius.transforms.intensity import not_hounsfield

_FORMAT = 1
"""Grows when what a shard holds, or how it is made, changes."""
_AT_ONCE = 64
"""Slices that are resampled together."""


@dataclass(frozen=True, kw_only=True)
class SliceSettings:
    """How scans become slices; one for a whole store."""

    plane: Plane = "axial"
    """Along which plane slices are taken."""
    spacing_mm: float | None = 1.5
    """Between pixels of a slice, as FlexiCT has it; None keeps the scanner's. Slices stay where they are."""
    margin_mm: float = 10.0
    """Air that is kept around the body."""
    least_cm2: float = 20.0
    """Area of the body from which a slice is kept."""

    def __post_init__(self) -> None:
        if (self.spacing_mm is not None and self.spacing_mm <= 0) or self.margin_mm < 0 or self.least_cm2 < 0:
            raise UsageError(
                expected="a positive spacing, and a margin and an area of at least 0",
                got=str(self),
                do="change the settings",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)


def shard_key(case: ListedCase, settings: SliceSettings, cache: Cache) -> str:
    """Return the name of a case's shard: a hash of the scan's contents and of the settings."""
    return key_of({"format": _FORMAT, "image": cache.sha256(case.image), **settings.as_dict()})


def pictures_key(case: ListedCase, plane: Plane, cache: Cache) -> str:
    """Return the name of the pictures of a case that is kept aside."""
    return key_of({"format": _FORMAT, "image": cache.sha256(case.image), "plane": plane})


def write_shard(folder: Path, case: ListedCase, listed: DataList, settings: SliceSettings) -> None:
    """Fill the folder of one scan; ``data.slices`` says with what.

    Raises:
        InputError: If the scan cannot be read, is no CT, or shows no body.
    """
    volume = _checked(read_image(case, listed.modality), case)
    seen = volume.reoriented(ORIENTATION[settings.plane])
    row_mm, column_mm, _ = seen.grid.spacing_mm
    scan = np.asarray(seen.data[0])
    mask = body_mask(scan)
    areas = areas_cm2(mask, row_mm * column_mm)
    kept = _kept(scan, areas, settings)
    if not len(kept):
        raise InputError(
            expected="a body in air, at least in one slice",
            got=f"{case.name}: no slice with {settings.least_cm2:g} cm² of anything denser than air",
            do="check that the scan is in Hounsfield units, or lower the least area",
        )
    margin = (round(settings.margin_mm / row_mm), round(settings.margin_mm / column_mm))
    box = slice_box(np.asarray(mask[:, :, kept].any(axis=2)), margin)
    pixels, spacing_mm = _resampled(scan[box.slices[0], box.slices[1]][:, :, kept], (row_mm, column_mm), settings)
    np.save(folder / "pixels.npy", pixels, allow_pickle=False)
    np.save(folder / "pictures.npy", pictures_of(np.moveaxis(scan[:, :, kept], 2, 0)), allow_pickle=False)
    facts = {
        "case": case.name,
        "group": listed.name,
        "numbers": kept.tolist(),
        "regions": _regions(scan[:, :, kept], mask[:, :, kept], row_mm * column_mm, settings.plane),
        "size": pixels.shape[1:],
        "spacing_mm": spacing_mm,
        "sha256": {name: sha256_of(folder / name) for name in ("pixels.npy", "pictures.npy")},
    }
    (folder / "shard.json").write_text(json.dumps(facts), encoding="utf-8")


def write_pictures(folder: Path, case: ListedCase, listed: DataList, plane: Plane) -> None:
    """Fill the folder of a scan that is to be known again, not learnt from: pictures of all its slices.

    Raises:
        InputError: If the scan cannot be read.
    """
    volume = read_image(case, listed.modality)
    scan = np.asarray(volume.reoriented(ORIENTATION[plane]).data[0])
    pictures = np.stack(pictures_in_windows(np.moveaxis(scan, 2, 0)))
    np.save(folder / "pictures.npy", pictures, allow_pickle=False)
    facts = {"case": case.name, "group": listed.name, "slices": scan.shape[2]}
    (folder / "case.json").write_text(json.dumps(facts), encoding="utf-8")


def _checked(volume: Volume, case: ListedCase) -> Volume:
    """Return a volume of one channel in Hounsfield units."""
    if volume.data.shape[0] != 1:
        reason: str | None = f"{volume.data.shape[0]} channels"
    elif volume.modality == "MR":
        reason = "an MR image"
    else:
        reason = not_hounsfield(volume.data[0])
    if reason is None:
        return volume
    raise InputError(
        expected="a CT of one channel, in Hounsfield units",
        got=f"{case.name}: {reason}",
        do="take the case out of the list, or convert it",
    )


def _regions(scan: np.ndarray, mask: np.ndarray, pixel_mm2: float, plane: Plane) -> list[Region]:
    """Return what slices show, which the rules only know of axial ones."""
    return regions_of(scan, mask, pixel_mm2) if plane == "axial" else ["unknown"] * scan.shape[2]


def _kept(scan: Num[np.ndarray, "h w k"], areas: np.ndarray, settings: SliceSettings) -> np.ndarray:
    """Return the numbers of slices with enough of a body that do not repeat the slice before."""
    enough = np.flatnonzero(areas >= max(settings.least_cm2, 1e-9))
    return np.array([k for k in enough if k == 0 or (scan[:, :, k] != scan[:, :, k - 1]).any()], dtype=np.int64)


def _resampled(
    slices: Num[np.ndarray, "h w n"], from_mm: tuple[float, float], settings: SliceSettings
) -> tuple[Int16[np.ndarray, "n h2 w2"], tuple[float, float]]:
    """Return slices at the settings' spacing, as near as whole pixels over the same extent allow, and that spacing.

    Linear, over as many pixels as one becomes, so that fine scans do not alias.
    """
    height, width, count = slices.shape
    to_mm = from_mm if settings.spacing_mm is None else (settings.spacing_mm, settings.spacing_mm)
    size = (max(1, round(height * from_mm[0] / to_mm[0])), max(1, round(width * from_mm[1] / to_mm[1])))
    result = np.empty((count, *size), np.int16)
    for start in range(0, count, _AT_ONCE):
        some = np.moveaxis(slices[:, :, start : start + _AT_ONCE], 2, 0)
        image = torch.from_numpy(np.ascontiguousarray(some, dtype=np.float32))[:, None]
        if size != (height, width):
            image = functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        result[start : start + _AT_ONCE] = np.clip(np.round(image[:, 0].numpy()), LOWEST_HU, HIGHEST_HU)
    return result, (from_mm[0] * height / size[0], from_mm[1] * width / size[1])
