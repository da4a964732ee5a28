"""The axis alphabet, and names for the array shapes that travel between rooms.

b batch, c channels, i j k voxels, h w pixels, o prompted objects, n clicks of one object, t tokens,
d width, v views, q prototypes. An axis has one meaning; objects never ride on ``b``.
Arrays of a volume are ``(c, i, j, k)``; label maps ``(i, j, k)``. No torch here: the floors above that
need tensors annotate them with the same letters.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Integer, Num

VolumeArray = Num[np.ndarray, "c i j k"]
LabelArray = Integer[np.ndarray, "i j k"]
MaskArray = Bool[np.ndarray, "i j k"]
Affine = Float64[np.ndarray, "4 4"]
Points = Num[np.ndarray, "*n 3"]


@runtime_checkable
class Voxels(Protocol):
    """An array of three axes, in memory or on disk; indexing it reads what is asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j and k."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        ...

    def __getitem__(self, box: Any, /) -> np.ndarray:
        """Return a box, given as three slices, as a plain array."""
        ...
