"""Planes: which slices show most of what was found, and one slice as a picture with coloured labels.

Radiological convention, as reading rooms have it: the patient's right is on the picture's left; axial slices are
seen from the feet with the front of the body on top, sagittal ones from the patient's left with the front on the
left. Arrays are views in RAS order, never reoriented copies; only the slices shown and a thinned sample are read.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, Num, UInt8, UInt16
from PIL import Image

from vesalius.labels.structure import Colour
from vesalius.shapes import LabelArray

_SAMPLE_SIDE = 256
_INSIDE, _OUTLINE = 0.42, 0.95
_UNNAMED: Colour = (190, 190, 190)


@dataclass(frozen=True)
class Plane:
    """One of the three cuts through a body whose arrays are in RAS order."""

    name: str
    axis: int
    """The array axis it stands at one index of."""
    left: str
    right: str
    top: str
    bottom: str

    @property
    def axes(self) -> tuple[int, int]:
        """The array axes that run across and down its picture."""
        across, down = (axis for axis in range(3) if axis != self.axis)
        return across, down

    def cut(self, array: np.ndarray, index: int) -> np.ndarray:
        """Return the slice at ``index`` of an ``(i, j, k)`` array in RAS order as rows and columns, ``(h, w)``."""
        return np.asarray(np.moveaxis(array, self.axis, 0)[index][::-1, ::-1].T)


AXIAL = Plane("axial", 2, left="R", right="L", top="A", bottom="P")
CORONAL = Plane("coronal", 1, left="R", right="L", top="S", bottom="I")
SAGITTAL = Plane("sagittal", 0, left="A", right="P", top="S", bottom="I")


def thinned(labels: Num[np.ndarray, "i j k"]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return every n-th voxel along each axis, at most 256, and the steps taken; the only copy of a volume here."""
    steps = tuple(-(-side // _SAMPLE_SIDE) for side in labels.shape)
    sample = np.ascontiguousarray(labels[tuple(slice(step // 2, None, step) for step in steps)])
    return sample, (steps[0], steps[1], steps[2])


def ranked(labels: LabelArray, ids: Sequence[int]) -> UInt16[np.ndarray, "i j k"]:
    """Replace each label by its place in ``ids``, from 1, and every other by 0."""
    table = np.zeros(max(ids, default=0) + 2, dtype=np.uint16)
    table[list(ids)] = np.arange(1, len(ids) + 1)
    return np.take(table, labels, mode="clip")


def best_indices(layers: Sequence[LabelArray], ids: Sequence[int]) -> tuple[int, int, int]:
    """Choose where to cut: the index along each axis at which most structures are near their widest.

    A structure counts by the square root of its area in the slice over its largest area along that axis, and a
    little by its volume, so that organs weigh more than as many small ribs. Without any structure, the middle.

    Args:
        layers: Label arrays ``(i, j, k)`` of one grid, thinned as they may be.
        ids: The structures that count.
    """
    shape = layers[0].shape
    areas = [np.zeros((side, len(ids) + 1)) for side in shape]
    for layer in layers:
        for axis in range(3):
            areas[axis] += _areas(ranked(layer, ids), axis, len(ids) + 1)
    best = []
    for area, side in zip(areas, shape, strict=True):
        inside = area[:, 1:]
        widest = np.maximum(inside.max(axis=0, initial=1), 1)
        score = (np.sqrt(inside / widest) * inside.sum(axis=0) ** 0.2).sum(axis=1)
        best.append(int(score.argmax()) if score.any() else side // 2)
    return best[0], best[1], best[2]


def _areas(ranks: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Count the voxels of each rank in each slice across ``axis``: ``(slices, count)``."""
    slices = np.moveaxis(ranks, axis, 0)
    return np.stack([np.bincount(one.ravel(), minlength=count) for one in slices])


def picture(
    image: Num[np.ndarray, "h w"],
    layers: Sequence[Integer[np.ndarray, "h w"]],
    *,
    colours: Mapping[int, Colour],
    window: tuple[float, float],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "height width 3"]:
    """Paint one slice.

    Args:
        image: Values ``(h, w)``.
        layers: Labels ``(h, w)``, the base layer first; later ones are painted over it.
        colours: Label id -> colour.
        window: Values shown black and white.
        size: Width and height of the picture in pixels; chosen so that millimetres are square.

    Returns:
        ``(height, width, 3)`` uint8.
    """
    low, high = window
    grey = np.clip((np.nan_to_num(image.astype(np.float32), nan=low) - low) / (high - low), 0, 1) * 255
    smooth = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    canvas = np.repeat(np.asarray(smooth, dtype=np.float32)[..., None], 3, axis=2)
    for layer in layers:
        labels = _resized_labels(layer, size)
        paint = np.zeros_like(canvas)
        for label in np.unique(labels[labels > 0]):
            paint[labels == label] = colours.get(int(label), _UNNAMED)
        opacity = np.where(_outlines(labels), _OUTLINE, _INSIDE) * (labels > 0)
        canvas += opacity[..., None] * (paint - canvas)
    return canvas.round().astype(np.uint8)


def _resized_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize labels so that outlines stay smooth: each is resized as a mask, and the strongest wins."""
    width, height = size
    winner = np.zeros((height, width), dtype=np.int64)
    strongest = np.zeros((height, width), dtype=np.float32)
    for label in np.unique(labels):
        mask = _softened((labels == label).astype(np.float32))
        strength = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
        wins = strength > strongest
        winner[wins], strongest[wins] = label, strength[wins]
    return winner


def _softened(mask: np.ndarray) -> np.ndarray:
    """Round the corners of a mask ``(h, w)``, by so little that a lone pixel still outweighs its surroundings."""
    padded = np.pad(mask, 1, mode="edge")
    across = 0.1 * (padded[:, :-2] + padded[:, 2:]) + 0.8 * padded[:, 1:-1]
    return np.asarray(0.1 * (across[:-2] + across[2:]) + 0.8 * across[1:-1], dtype=np.float32)


def _outlines(labels: np.ndarray) -> np.ndarray:
    """Mark the pixels of a structure that have a neighbour outside it."""
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray(np.logical_or.reduce([centre != other for other in neighbours]) & (centre > 0))
