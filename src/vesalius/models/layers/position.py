"""Fourier position: where a point lies in a window, as sines and cosines of random frequencies.

Paper: Tancik et al. 2020, arXiv:2006.10739; used as in Segment Anything. The frequencies are drawn once and belong
to the weights.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierPosition(nn.Module):
    """Turns voxel positions into vectors of ``width`` channels, in float32.

    Args:
        width: Channels of the vectors; half sines, half cosines.
    """

    frequencies: Float[Tensor, "3 f"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(3, width // 2))

    def forward(self, points_ijk: Float[Tensor, "*n 3"], shape: Sequence[int]) -> Float[Tensor, "*n d"]:
        """Encode points.

        Args:
            points_ijk: Voxel indices; 0 is the centre of the first voxel.
            shape: Voxels of the window along i, j, k.

        Returns:
            Vectors that are equal for equal places of windows of any resolution.
        """
        size = torch.tensor(list(shape), dtype=torch.float32, device=points_ijk.device)
        phases = 2 * math.pi * (_places(points_ijk.float(), size) @ self.frequencies.float())  # [n f]
        return torch.cat([phases.sin(), phases.cos()], dim=-1)

    def compare(
        self, vectors: Float[Tensor, "*n d"], shape: Sequence[int], *, planes: int
    ) -> Iterator[Float[Tensor, "*n t"]]:
        """Yield the dot products of vectors with the encoding of every voxel's centre, some planes along i at once.

        The encodings are never made. The phase of a voxel is that of its i plus that of its (j, k), and by the
        addition theorems v·sin(p + q) + w·cos(p + q) is the dot product of the sine and cosine of q with numbers
        that depend on p: a matrix product per plane, instead of a sine per voxel and channel.

        Args:
            vectors: As wide as the encodings.
            shape: Voxels of the grid along i, j, k.
            planes: How many at once.
        """
        i, j, k = (self._phases(axis, side) for axis, side in enumerate(shape))
        in_plane = (j[:, None] + k).flatten(0, 1)  # [(j k) f]
        plane = torch.cat([in_plane.sin(), in_plane.cos()], dim=-1)  # [(j k) d]
        v, w = vectors.float()[..., None, :].chunk(2, dim=-1)  # [n 1 f]
        sine, cosine = i.sin(), i.cos()  # [i f]
        at_plane = torch.cat([v * cosine - w * sine, v * sine + w * cosine], dim=-1)  # [n i d]
        for some in torch.split(at_plane, planes, dim=-2):
            rows = some.flatten(0, -2) @ plane.mT  # [(n i) (j k)]: one product, where broadcasting would make n
            yield rows.reshape(*vectors.shape[:-1], -1)  # [n (i j k)]

    def _phases(self, axis: int, side: int) -> Float[Tensor, "s f"]:
        centres = torch.arange(side, dtype=torch.float32, device=self.frequencies.device)
        return 2 * math.pi * _places(centres, side)[:, None] * self.frequencies[axis].float()


def _places(centres: Tensor, size: Tensor | int) -> Tensor:
    """Return voxel indices as places from -1 to 1, the outer faces of the window."""
    return 2 * ((centres + 0.5) / size) - 1
