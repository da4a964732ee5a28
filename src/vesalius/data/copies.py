"""Find copies among the cases of a list: equal voxels, equal labels, and pictures that are nearly the same."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

from vesalius.data.datalists.record import ListedCase, Split
from vesalius.geometry.volume import LabelMap, Volume

THUMBNAIL_SIDE = 12
ALIKE = 0.99
"""Correlation of thumbnails from which two images are called nearly the same. Measured on hippocampus MR, head and
neck CT and sarcoma CT (60, 60 and 18 scans): resampled to voxels 1.4 times as large 0.9958 at least, two different
scans 0.967 at most."""
_REPEATED = 0.2
_FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class Traces:
    """What is kept of a case to know it again.

    Args:
        name: Of the case.
        split: What it is for.
        image: Hash of the voxels, whatever the file format, number type and axis order.
        label: The same of the labels; None where nothing is labelled.
        thumbnail: Block means over the whole field of view, of mean 0 and length 1; None of a thin volume.
    """

    name: str
    split: Split
    image: str
    label: str | None
    thumbnail: Float[np.ndarray, " t"] | None


def traces_of(case: ListedCase, image: Volume, labels: LabelMap | None) -> Traces:
    """Return what is kept of a case."""
    seen = image.reoriented("RAS").data[0]
    drawn = labels.reoriented("RAS") if labels is not None else None
    layers = () if drawn is None else (drawn.data, *drawn.overlaps.values())
    return Traces(
        case.name,
        case.split,
        voxel_hash(seen),
        "".join(voxel_hash(layer) for layer in layers if layer.any()) or None,
        thumbnail(seen),
    )


def voxel_hash(data: Num[np.ndarray, "i j k"]) -> str:
    """Return the SHA-256 of a volume's shape and values; equal values of any number type have one hash."""
    digest = hashlib.sha256(repr(data.shape).encode())
    for part in data:
        digest.update(np.ascontiguousarray(part, dtype=np.float32).data)
    return digest.hexdigest()


def thumbnail(data: Num[np.ndarray, "i j k"]) -> Float[np.ndarray, " t"] | None:
    """Return block means, 12 along each axis, of mean 0 and length 1: a resampled copy has nearly the same."""
    if min(data.shape) < THUMBNAIL_SIDE:
        return None
    i, j, k = (_shares(size) for size in data.shape)
    means = np.zeros((THUMBNAIL_SIDE, *data.shape[1:]))
    for shares, plane in zip(i.T, data, strict=True):
        for block in np.flatnonzero(shares):
            means[block] += shares[block] * plane
    means = np.einsum("tyz,vy,wz->tvw", means, j, k, optimize=True)
    centred = means.ravel() - means.mean()
    length = float(np.linalg.norm(centred))
    if length <= _FLAT * float(np.abs(means).max()):
        return None
    picture: np.ndarray = centred / length
    return picture


def _shares(size: int) -> Float[np.ndarray, "t n"]:
    """Return how much of each block's mean comes from each voxel of an axis; blocks end where they end."""
    edges = np.linspace(0, size, THUMBNAIL_SIDE + 1)
    first, last = np.arange(size), np.arange(1, size + 1)
    inside = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    return np.asarray(np.clip(inside, 0, None) * (THUMBNAIL_SIDE / size))


def copies(traces: Sequence[Traces]) -> Iterator[tuple[Traces, Traces, Literal["image", "look", "label"]]]:
    """Yield pairs of cases that are copies, the later one first, and in what."""
    for other, one in combinations(traces, 2):
        if one.image == other.image:
            yield one, other, "image"
        elif one.label is not None and one.label == other.label:
            yield one, other, "label"
        elif _alike(one, other):
            yield one, other, "look"


def _alike(one: Traces, other: Traces) -> bool:
    if one.thumbnail is None or other.thumbnail is None:
        return False
    return float(one.thumbnail @ other.thumbnail) > ALIKE


def repeated_slices(data: Num[np.ndarray, "i j k"], spacing_mm: Sequence[float]) -> float:
    """Return which part of the slices equal the one before, if that is much; slices of one value do not count.

    Args:
        data: The volume.
        spacing_mm: Its voxels; slices lie across the longest side.
    """
    slices = np.moveaxis(data, int(np.argmax(spacing_mm)), 0)
    pairs = list(pairwise(slices))
    equal = sum(bool((one == other).all()) and float(one.min()) < float(one.max()) for one, other in pairs)
    share = equal / max(len(pairs), 1)
    return share if share > _REPEATED else 0.0
