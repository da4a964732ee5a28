"""Instance norm that keeps the channels-last layout and sums in float32.

``torch.nn.InstanceNorm3d`` folds the batch into the channels, which costs a copy out of channels-last and one back;
at 128³ and 48 channels those copies take longer than the convolution saves. Batch norm in training mode over one
window computes the same numbers in the layout it finds, so each window is normalised by itself.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.planes import Entry, slabs


class Moments(NamedTuple):
    """Mean and biased variance of each channel of one window, in float32."""

    mean: Float[Tensor, " c"]
    variance: Float[Tensor, " c"]


class InstanceNorm(nn.Module):
    """Normalises every channel of every window to mean 0 and variance 1.

    Args:
        width: Channels.
        affine: Whether a scale and a shift are learnt per channel.
        eps: Added to the variance.
    """

    def __init__(self, width: int, *, affine: bool, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, features: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b c i j k"]:
        """Normalise each window over its own voxels."""
        windows = [
            functional.batch_norm(window, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for window in torch.split(features, 1)
        ]
        return windows[0] if len(windows) == 1 else torch.cat(windows)

    def over(self, planes: Float[Tensor, "i c j k"], activation: Entry | None = None) -> Entry:
        """Measure a whole window now, and return what normalises (and activates) some of its planes later."""
        return self.by(measure(some for (some,) in slabs(planes)), activation)

    def by(self, moments: Moments, activation: Entry | None = None) -> Entry:
        """Return what normalises (and activates) planes of a window that was measured before."""

        def normalise(some: Tensor) -> Tensor:
            normalised = functional.batch_norm(some, *moments, self.weight, self.bias, training=False, eps=self.eps)
            return normalised if activation is None else activation(normalised)

        return normalise


def measure(parts: Iterable[Float[Tensor, "_ c j k"]]) -> Moments:
    """Return the moments of a window, a few planes at a time, so that float32 sums stay exact to about 1e-7.

    Float32 is summed plane by plane: sums over a slab would add a fifth to the rounding noise of VISTA3D's logits.
    """
    sizes, means, variances = [], [], []
    for some in parts:
        for piece in torch.split(some, 1 if some.dtype == torch.float32 else len(some)):
            running = torch.zeros(2, some.shape[1])  # in float32, so that bfloat16 planes are summed in float32
            mean, variance = torch.batch_norm_update_stats(piece, running[0], running[1], 0.0)
            sizes.append(float(len(piece)))
            means.append(mean)
            variances.append(variance)
    share = (torch.tensor(sizes) / sum(sizes))[:, None].double()  # [s 1]
    mean_of, variance_of = torch.stack(means).double(), torch.stack(variances).double()  # [s c]
    mean = (share * mean_of).sum(0)
    return Moments(mean.float(), (share * (variance_of + (mean_of - mean) ** 2)).sum(0).float())
