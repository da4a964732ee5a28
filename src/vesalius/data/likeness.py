"""Likeness: know a slice again after it was resampled, cropped to the body, scaled or shown in another window.

Hashes of pixels miss a copy that was resampled; means over blocks cannot tell two patients apart, because the
outline of a body in air is most of any picture. So a small picture is kept of every slice, and two are compared
inside both bodies only: how much of the variance of one is a function of the other, whatever function that is.
Windows and scales leave that share near 1, and another patient's anatomy does not reach it.
Pictures to compare in that way are found by block means first.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Num, UInt8

SIDE = 48
"""Pixels along each side of a picture."""
ALIKE = 0.955
"""Likeness from which a slice is called a copy, chosen on 1,376 slices of 138 CT (head and neck, sarcoma, belly,
chest), most of them of 4 mm pixels: nearest to another patient's, at most 0.896 as they are, 0.906 at 1.3 times the
size, 0.931 at 0.75 of it and clipped to soft tissue. Known again: all, 99.7 % and 80 %
(``benchmarks/results/slice_likeness.json``)."""
WINDOWS_HU: tuple[tuple[float, float] | None, ...] = (None, (-160.0, 240.0), (-1000.0, 400.0), (-450.0, 1050.0))
"""All, soft tissue, lung, bone."""

_BLOCKS = 16
_CANDIDATES = 12
_BINS = 16
_SMOOTH = 2.0
_FEWEST = 100
"""Pixels inside both bodies, of 2304; with fewer nothing is said. What is missing to 1 counts twice with so few."""
_DENSER = 0.15
"""Of a picture's range: above that a pixel is body, not air, whatever the window."""

Pictures = UInt8[np.ndarray, "n 2 s s"]
"""Of each slice the whole field of view, and the box of the body."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """The slice of a gallery that is most like another.

    Args:
        case: Name of its scan.
        number: Which slice of it.
        likeness: In 0..1.
    """

    case: str
    number: int
    likeness: float


def pictures_of(slices: Num[np.ndarray, "n h w"]) -> Pictures:
    """Return the pictures of slices, in any unit."""
    pictures = np.zeros((len(slices), 2, SIDE, SIDE), np.uint8)
    for picture, pixels in zip(pictures, slices, strict=True):
        height, width = pixels.shape
        picture[0] = _shrunk(pixels, (0.0, float(height)), (0.0, float(width)))
        low, high = np.quantile(pixels, (0.01, 0.99))
        body = pixels > low + _DENSER * (high - low)
        picture[1] = _shrunk(pixels, _extent(body.sum(axis=1)), _extent(body.sum(axis=0)))
    return pictures


def pictures_in_windows(slices_hu: Num[np.ndarray, "n h w"]) -> tuple[Pictures, ...]:
    """Return the pictures of slices as they are, and as each of the usual windows shows them.

    Smoothing what a window has clipped is not clipping what was smoothed: at the edges of bones and lungs the grey
    of a windowed copy is no function of Hounsfield units.
    """
    return tuple(pictures_of(slices_hu if window is None else np.clip(slices_hu, *window)) for window in WINDOWS_HU)


def _extent(profile: Num[np.ndarray, " n"]) -> tuple[float, float]:
    """Return from where to where a body lies along an axis, in parts of pixels; all of it if there is none.

    Where its area reaches 1 and 99 %, and a little more: resampling moves that less than the outermost pixel.
    """
    reached = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    if reached[-1] == 0:
        return 0.0, float(len(profile))
    low, high = np.interp((0.01, 0.99), reached / reached[-1], np.arange(len(reached)))
    margin = 0.04 * (high - low)
    return float(low - margin), float(high + margin)


def _shrunk(
    pixels: Num[np.ndarray, "h w"], rows: tuple[float, float], columns: tuple[float, float]
) -> UInt8[np.ndarray, "s s"]:
    """Return part of a slice as a picture, smoothed a little, stretched to the range of a byte."""
    small = _weights(rows, pixels.shape[0]) @ pixels.astype(np.float64) @ _weights(columns, pixels.shape[1]).T
    low, high = float(small.min()), float(small.max())
    return np.asarray(np.round((small - low) * (255 / max(high - low, 1e-6))), dtype=np.uint8)


def _weights(extent: tuple[float, float], size: int) -> Float64[np.ndarray, "s n"]:
    """Return how much of each pixel goes into each pixel of a picture, along an axis.

    Linear interpolation over at least a pixel of the slice, and two of the picture, to either side: finer detail
    does not survive resampling.
    """
    start, stop = extent
    step = (stop - start) / SIDE
    centres = start + (np.arange(SIDE) + 0.5) * step - 0.5
    reach = max(1.0, _SMOOTH * step)
    apart = np.abs(np.clip(centres, 0, size - 1)[:, None] - np.arange(size))
    weights = np.maximum(1 - apart / reach, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


class Gallery:
    """Pictures to look others up in.

    Args:
        cases: The scan that each slice is of.
        numbers: Which slice of it.
        pictures: Of all slices.
    """

    def __init__(self, cases: Sequence[str], numbers: Sequence[int], pictures: Pictures) -> None:
        self._cases, self._numbers = tuple(cases), tuple(numbers)
        self._pictures = _Set.of(pictures)

    @classmethod
    def of(
        cls, cases: Sequence[str], numbers: Sequence[int], pictures: Sequence[UInt8[np.ndarray, "_ 2 s s"]]
    ) -> Gallery:
        """Return a gallery of several scans' pictures, each with slices of its own number, or of none."""
        none = np.zeros((0, 2, SIDE, SIDE), np.uint8)
        return cls(cases, numbers, np.concatenate([none, *pictures]))

    def __len__(self) -> int:
        return len(self._cases)

    def nearest(self, pictures: Pictures) -> list[Match | None]:
        """Return for each slice the one of the gallery that is most like it; None if none can be compared.

        Args:
            pictures: Of the slices that are looked up.
        """
        looked_up = _Set.of(pictures)
        return [self._nearest(looked_up, index) for index in range(len(pictures))]

    def _nearest(self, looked_up: _Set, index: int) -> Match | None:
        best: Match | None = None
        for own, other in ((0, 0), (1, 1), (0, 1)):  # a crop without air around it is all field of view
            near = self._pictures.blocks[other] @ looked_up.blocks[own][index]
            candidates = np.argsort(near)[::-1][:_CANDIDATES]
            shares = likeness(
                looked_up.pixels[own][index],
                looked_up.inside[own][index],
                self._pictures.pixels[other][candidates],
                self._pictures.inside[other][candidates],
            )
            at = int(shares.argmax()) if len(shares) else 0
            if len(shares) and (best is None or shares[at] > best.likeness):
                chosen = int(candidates[at])
                best = Match(case=self._cases[chosen], number=self._numbers[chosen], likeness=float(shares[at]))
        return best


@dataclass(frozen=True, eq=False)
class _Set:
    """Pictures as they are compared; the first index of each part says which of a slice's two."""

    pixels: UInt8[np.ndarray, "2 n p"]
    inside: Bool[np.ndarray, "2 n p"]
    blocks: Float32[np.ndarray, "2 n q"]

    @classmethod
    def of(cls, pictures: Pictures) -> _Set:
        both = np.swapaxes(pictures, 0, 1)  # [2 n h w]
        pixels, blocks = (2, len(pictures), SIDE**2), (2, len(pictures), _BLOCKS**2)
        if not len(pictures):
            return cls(np.zeros(pixels, np.uint8), np.zeros(pixels, bool), np.zeros(blocks, np.float32))
        return cls(both.reshape(pixels), _inside(both).reshape(pixels), _blocks(both).reshape(blocks))


def _inside(pictures: UInt8[np.ndarray, "2 n s s"]) -> Bool[np.ndarray, "2 n s s"]:
    """Return where a picture shows body, without the pixels at its border with air."""
    dense = np.pad(pictures > 255 * _DENSER, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    inner = dense[:, :, 1:-1, 1:-1].copy()
    for down in range(3):
        for right in range(3):
            inner &= dense[:, :, down : down + SIDE, right : right + SIDE]
    return inner


def _blocks(pictures: UInt8[np.ndarray, "2 n s s"]) -> Float32[np.ndarray, "2 n y x"]:
    """Return block means between a picture's dark and bright ends, of mean 0 and length 1."""
    size = SIDE // _BLOCKS
    means = pictures.reshape(*pictures.shape[:2], _BLOCKS, size, _BLOCKS, size).mean(axis=(3, 5), dtype=np.float32)
    low, high = np.quantile(means, (0.05, 0.95), axis=(2, 3), keepdims=True)
    means = np.clip((means - low) / np.maximum(high - low, 1.0), 0, 1)
    means = means - means.mean(axis=(2, 3), keepdims=True)
    length = np.sqrt(np.square(means).sum(axis=(2, 3), keepdims=True))
    return np.asarray(means / np.maximum(length, 1e-6), dtype=np.float32)


def likeness(
    one: UInt8[np.ndarray, " p"],
    inside_one: Bool[np.ndarray, " p"],
    others: UInt8[np.ndarray, "m p"],
    inside_others: Bool[np.ndarray, "m p"],
) -> Float64[np.ndarray, " m"]:
    """Return how much of a picture is a function of others, or of them a function of it: the larger share, in 0..1.

    The function is a line in each of 16 steps of grey, so nothing is asked of it; the share of variance that it
    explains is lowered for what so many free numbers explain of noise (adjusted R²), and for few pixels. 0 where
    too few lie inside both bodies, or all are alike.
    """
    inside = inside_others & inside_one
    counts = inside.sum(axis=1)
    mine = np.broadcast_to(one, others.shape)
    share = np.maximum(_explained(mine, others, inside), _explained(others, mine, inside))
    doubt = 1 + _FEWEST / np.maximum(counts, 1)
    return np.where(counts >= _FEWEST, np.maximum(1 - (1 - share) * doubt, 0), 0.0)


def _explained(
    x: UInt8[np.ndarray, "m p"], y: UInt8[np.ndarray, "m p"], inside: Bool[np.ndarray, "m p"]
) -> Float64[np.ndarray, " m"]:
    """Return the adjusted share of the variance of ``y`` that lines in steps of ``x`` explain."""
    rows = np.broadcast_to(np.arange(len(x))[:, None], x.shape)[inside]
    xs, ys = x[inside].astype(np.float64), y[inside].astype(np.float64)
    cells = rows * _BINS + (x[inside] // (256 // _BINS))

    def summed(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(cells, values, len(x) * _BINS).reshape(len(x), _BINS)

    n = summed(None)
    safe = np.maximum(n, 1)
    sum_x, sum_y, sum_yy = summed(xs), summed(ys), summed(ys * ys)
    xx = np.maximum(summed(xs * xs) - sum_x**2 / safe, 0)
    xy = summed(xs * ys) - sum_x * sum_y / safe
    yy = np.maximum(sum_yy - sum_y**2 / safe, 0)
    left = np.maximum(yy - np.where(xx > 1e-9, xy**2 / np.maximum(xx, 1e-9), 0), 0).sum(axis=1)
    total = n.sum(axis=1)
    whole = sum_yy.sum(axis=1) - sum_y.sum(axis=1) ** 2 / np.maximum(total, 1)
    free = (n > 0).sum(axis=1) + (xx > 1e-9).sum(axis=1)
    spare = np.maximum(total - free, 1)
    varies = whole > total  # by more than one step of grey
    share = 1 - left * np.maximum(total - 1, 1) / (spare * np.where(varies, whole, 1))
    return np.asarray(np.where(varies, np.clip(share, 0, 1), 0), dtype=np.float64)
