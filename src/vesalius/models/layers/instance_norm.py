"""Instance norm that keeps the channels-last layout and sums in float32.

``torch.nn.InstanceNorm3d`` folds the batch into the channels, which costs a copy out of channels-last and one back;
at 128³ and 48 channels those copies take longer than the convolution saves. Batch norm in training mode over one
window computes the same numbers in the layout it finds, so each window is normalised by itself.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from einops import rearrange
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
        if features[0, 0].numel() == 1:  # a voxel alone is its own mean, and batch norm refuses it
            nothing = features - features
            return (
                nothing if self.bias is None else nothing + rearrange(self.bias, "c -> c 1 1 1").to(features.dtype)
            )
        windows = [
            functional.batch_norm(window, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for window in torch.split(features, 1)
        ]
        return windows[0] if len(windows) == 1 else torch.cat(windows)

    def over(self, planes: Float[Tensor, "i c j k"], activation: Entry | None = None) -> Entry:
        """Measure a whole window now, and return what normalises (and activates) some of its planes later."""
        return self.by(measure_window(planes), activation)

    def by(self, moments: Moments, activation: Entry | None = None) -> Entry:
        """Return what normalises (and activates) planes of a window that was measured before."""

        def normalise(some: Tensor) -> Tensor:
            normalised = functional.batch_norm(some, *moments, self.weight, self.bias, training=False, eps=self.eps)
            return normalised if activation is None else activation(normalised)

        return normalise


class NormGradient:
    """The gradient to what a norm read, plane by plane, of that to what it gave.

    ``scale * (g - mean(g) - normalised * mean(g * normalised))`` with ``scale = weight / deviation``: the means are
    taken first (``count``), then the rest is made where it is needed (``unscaled``).

    Args:
        norm: The norm.
        source: A window it read.
        moments: What it measured.
    """

    def __init__(self, norm: InstanceNorm, source: Float[Tensor, "i c j k"], moments: Moments) -> None:
        self._norm, self._source, self._moments = norm, source, moments
        self._deviation = (moments.variance + norm.eps).rsqrt()  # its inverse
        self._ones = torch.ones_like(moments.mean)
        self._sums = torch.zeros(2, len(moments.mean), dtype=torch.float64)

    def activated(self, activation: Entry) -> Callable[[slice], Tensor]:
        """Return what makes planes of the window normalised and activated."""
        entry = self._norm.by(self._moments, activation)
        return lambda where: entry(self._source[where])

    def count(self, where: slice, gradient: Float[Tensor, "_ c j k"]) -> None:
        """Add planes of the gradient to what the norm gave to the sums; each once, before all else."""
        _, weight, bias = torch.ops.aten.native_batch_norm_backward(
            gradient,
            self._source[where],
            self._ones,
            None,
            None,
            self._moments.mean,
            self._deviation,
            True,
            self._norm.eps,
            [False, True, True],
        )
        self._sums += torch.stack([weight, bias])

    @property
    def to_parameters(self) -> tuple[Tensor | None, Tensor | None]:
        """The gradients to scale and shift, where there are such."""
        if self._norm.weight is None:
            return None, None
        weight, bias = self._sums.to(self._norm.weight.dtype)
        return weight, bias

    @property
    def scale(self) -> Float[Tensor, " c"]:
        """What ``unscaled`` leaves out, in float32."""
        return self._deviation if self._norm.weight is None else self._deviation * self._norm.weight.detach()

    def unscaled(self, gradient: Float[Tensor, "i c j k"]) -> Callable[[slice], Tensor]:
        """Return what makes planes of the gradient to the source, but for the factor ``scale``."""
        voxels = self._source[:, 0].numel()
        along, mean = (-self._sums / voxels).float()

        def planes(where: slice) -> Tensor:
            shift = functional.batch_norm(self._source[where], *self._moments, along, mean, eps=self._norm.eps)
            return shift.add_(gradient[where])

        return planes

    def scaled(self, gradient: Float[Tensor, "i c j k"]) -> Callable[[slice], Tensor]:
        """Return what makes planes of the gradient to the source."""
        unscaled, scale = self.unscaled(gradient), self.scale
        zeros = torch.zeros_like(self._ones)
        return lambda where: functional.batch_norm(unscaled(where), zeros, self._ones, scale, zeros, eps=0.0)


def measure_window(planes: Float[Tensor, "i c j k"]) -> Moments:
    """Return the moments of a whole window."""
    return measure(some for (some,) in slabs(planes))


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
