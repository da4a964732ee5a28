"""Four ways to run VISTA3D over a volume, as differences: ours, and the three published ones.

The published pipelines disagree with one another in grid, crop, overlap, blending and padding
(``Project-MONAI/VISTA`` ``vista3d/configs/infer.yaml``; ``Project-MONAI/model-zoo`` bundle ``vista3d`` 0.5.4
``configs/inference.json`` and later versions). They are here so that equality can be shown and asked for.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from vesalius.inference.windows import Blending, clamped_starts, spread_starts
from vesalius.transforms.preprocess import Preprocessing

Compat = Literal["paper", "bundle-0.5.4", "bundle"]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """How a volume becomes windows and windows become labels."""

    preprocessing: Preprocessing
    overlap: float | None
    """Part of a window shared with its neighbour; None asks the model's spec."""
    place: Callable[[int, int, float], tuple[int, ...]]
    """Length of an axis, side of a window, overlap -> first voxel of each window."""
    blending: Blending
    spare_air: bool
    """Skip windows that hold nothing denser than air."""
    interpolate: bool
    """Make labels on the input's grid from interpolated features; otherwise labels are made on the model's grid
    and copied to the nearest voxel."""
    direct_sums: bool
    """Convolve without Winograd, whose rounding decides a label where two classes are all but equal."""


OURS = Pipeline(
    preprocessing=Preprocessing(),
    overlap=None,
    place=spread_starts,
    blending="partition",
    spare_air=True,
    interpolate=True,
    direct_sums=False,
)

BUNDLE = replace(
    OURS,
    preprocessing=Preprocessing(crop="foreground", orient_first=False, keep_extent=False, padding="replicate"),
    overlap=0.25,  # the bundle's 0.3 is never handed to its inferer
    place=clamped_starts,
    blending="constant",
    spare_air=False,
    interpolate=False,
    direct_sums=True,
)

BUNDLE_0_5_4 = replace(BUNDLE, preprocessing=replace(BUNDLE.preprocessing, padding="constant"))

PAPER = replace(
    BUNDLE,
    preprocessing=Preprocessing(crop="none", clip_first=True, keep_extent=False),
    overlap=0.625,
    blending="gaussian",
)

_COMPAT: dict[Compat, Pipeline] = {"paper": PAPER, "bundle-0.5.4": BUNDLE_0_5_4, "bundle": BUNDLE}


def pipeline(compat: Compat | None) -> Pipeline:
    """Return a published pipeline by name, or ours."""
    return OURS if compat is None else _COMPAT[compat]
