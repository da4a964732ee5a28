"""Map Hounsfield units to what a network sees, and tell Hounsfield units from other numbers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import NamedTuple, assert_never

import numpy as np
from jaxtyping import Float, Num
from torch import Tensor

from vesalius.spec import ModelSpec

_SAMPLES_PER_AXIS = 64
_MOST_SAMPLES = 1_000_000


def scale_hu_(values: Float[Tensor, "*shape"], window_hu: tuple[float, float]) -> Float[Tensor, "*shape"]:
    """Map a Hounsfield window to 0..1 and clip, in place."""
    low, high = window_hu
    return values.sub_(low).div_(high - low).clamp_(0.0, 1.0)


def image_window(data: Num[np.ndarray, "i j k"], spec: ModelSpec) -> tuple[float, float]:
    """Return the values of an image that the network of a spec sees as 0 and 1, in the image's own unit.

    Args:
        data: The whole image: percentiles of a part would be others. An even sample of a million voxels is taken.
        spec: With a normalisation ``percentiles``, the values are the image's own; else they are ``window_hu``.
    """
    if spec.normalisation != "percentiles":
        return spec.window_hu
    step = max(1, round((data.size / _MOST_SAMPLES) ** (1 / 3)))
    sample = np.asarray(data[::step, ::step, ::step], dtype=np.float32)
    low, high = np.percentile(sample, spec.window_percentiles).tolist()
    return low, high if high > low else low + 1.0


def hounsfield_unit(data: Num[np.ndarray, "i j k"], spec: ModelSpec) -> float:
    """Return what a Hounsfield unit is in an image's own unit: 1, or as large a part of what the network sees."""
    low, high = image_window(data, spec)
    return (high - low) / (spec.window_hu[1] - spec.window_hu[0])


def as_hounsfield_(
    values: Float[Tensor, "*shape"], window: tuple[float, float], window_hu: tuple[float, float]
) -> Float[Tensor, "*shape"]:
    """Bring one window to another, in place and without clipping: what lies at its ends lies at the other's."""
    factor = (window_hu[1] - window_hu[0]) / (window[1] - window[0])
    return values.sub_(window[0]).mul_(factor).add_(window_hu[0])


class Moments(NamedTuple):
    """Mean and standard deviation of whole slices, of values clipped to a window of Hounsfield units."""

    mean: Float[Tensor, "1 1 k"]
    deviation: Float[Tensor, "1 1 k"]


def slice_moments(slices: Float[Tensor, "i j k"], window_hu: tuple[float, float]) -> Moments:
    """Return the moments of whole slices, by which all that is cut from them is normalised.

    Args:
        slices: In Hounsfield units, along the last axis.
        window_hu: What values are clipped to.
    """
    return _moments(slices.clamp(*window_hu))


def normalise_hu_(
    slices: Float[Tensor, "i j k"], spec: ModelSpec, *, moments: Moments | None = None
) -> Float[Tensor, "i j k"]:
    """Map Hounsfield units to what the network of a spec sees, in place.

    Args:
        slices: In Hounsfield units; slices of a 2-D network along the last axis.
        spec: Says the window that values are clipped to, and what becomes of them.
        moments: Of the whole slices, where these are parts of them; None: they are whole. Of use to a spec that
            normalises slice by slice alone.
    """
    match spec.normalisation:
        case "window" | "percentiles":  # the spec of a network of slices has no percentiles
            return scale_hu_(slices, spec.window_hu)
        case "fixed":
            mean, deviation = spec.mean_std_hu
            return slices.clamp_(*spec.window_hu).sub_(mean).div_(deviation)
        case "slice":
            slices.clamp_(*spec.window_hu)
            own = moments or _moments(slices)
            return slices.sub_(own.mean).div_(own.deviation)
        case _:
            assert_never(spec.normalisation)


def _moments(clipped: Float[Tensor, "i j k"]) -> Moments:
    deviation = clipped.std(dim=(0, 1), correction=0, keepdim=True).clamp_min(1e-6)
    return Moments(clipped.mean(dim=(0, 1), keepdim=True), deviation)


def count_non_finite(data: Num[np.ndarray, "*shape"]) -> int:
    """Count the voxels that are NaN or infinite, without a copy where there are none."""
    if not np.issubdtype(data.dtype, np.floating):
        return 0
    with np.errstate(invalid="ignore"):  # some processors complain of NaN while they compare
        extremes = np.array([data.min(), data.max()])
    if np.isfinite(extremes).all():
        return 0
    return sum(int(np.count_nonzero(~np.isfinite(data[..., k]))) for k in range(data.shape[-1]))


_SOFTEST_BONE_HU = 500.0
"""No body is mostly denser; soft tissue that is shifted by 1024 is."""


def not_hounsfield(data: Num[np.ndarray, "i j k"], *, may_lack_negatives: bool = False) -> str | None:
    """Say why voxel values cannot be Hounsfield units, or return None where they may be.

    Looks at an even sample of the voxels. Air is about -1000 HU, fat -100, water 0: an image of a body without
    one clearly negative value is something else, unless negative values were cut away.

    Args:
        data: Of one channel.
        may_lack_negatives: Do not count it as a reason that no value is negative.
    """
    steps = tuple(slice(None, None, max(1, n // _SAMPLES_PER_AXIS)) for n in data.shape)
    sample = np.asarray(data[steps], dtype=np.float32)
    low, high = float(sample.min()), float(sample.max())
    if high - low < 1e-6:
        return f"every voxel is {low:g}"
    if high - low <= 20.0:
        return f"all values lie between {low:g} and {high:g}, as after normalisation"
    if low >= 0.0 and not may_lack_negatives:
        return f"no value is negative ({low:g} to {high:g}): unscaled, shifted by 1024, or not CT"
    if low >= 0.0 and np.median(sample[sample > 0.0]) > _SOFTEST_BONE_HU:
        return f"no value is negative and most are as dense as bone (up to {high:g}): unscaled, or shifted by 1024"
    if low < -5000.0 and np.mean(sample < -5000.0) > 0.5:
        return f"most values are far below air (down to {low:g})"
    return None
