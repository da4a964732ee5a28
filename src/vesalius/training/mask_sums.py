"""Mask sums: all that the losses want to know of prompted masks, a few sums over the voxels of each.

Class prompts are dot products of a vector with every voxel's features, so a mask's logits need not be kept: they
are made again, some voxels at a time, when the gradient is wanted. Twenty masks of 128³ voxels are 170 MB in
float32, and the plain formulas keep about ten arrays of that size for the gradient. What is rounded is rounded as
``compare`` rounds it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vesalius.engine.wide import widest

Logits = Float[Tensor, "o i j k"]
Masks = Bool[Tensor, "o i j k"]

VOXELS_AT_ONCE = 1 << 12
"""What is made of twenty masks of so many voxels stays in a processor's second cache."""


@dataclass(frozen=True, eq=False)
class MaskSums:
    """Sums over the voxels of each mask; p is the probability of a voxel, y whether it belongs.

    Args:
        overlap: Of ``p y``, over known voxels.
        probability: Of ``p``, over known voxels.
        squared: Of ``p²``, over known voxels.
        entropy: Of the binary cross-entropy, over known voxels.
        missed: Of ``-log p``, over the mask's own voxels.
        expected: Known voxels that belong.
        known: Known voxels.
        own: Voxels that belong.
    """

    overlap: Float[Tensor, " o"]
    probability: Float[Tensor, " o"]
    squared: Float[Tensor, " o"]
    entropy: Float[Tensor, " o"]
    missed: Float[Tensor, " o"]
    expected: Float[Tensor, " o"]
    known: Float[Tensor, " o"]
    own: Float[Tensor, " o"]

    def __len__(self) -> int:
        return len(self.known)

    def first(self, count: int) -> MaskSums:
        """Return the sums of the first masks."""
        return MaskSums(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


def sums_of_logits(logits: Logits, targets: Masks, known: Masks) -> MaskSums:
    """Return the sums of masks whose logits are at hand, in float32."""
    part = _Part(logits.flatten(1), *(mask.flatten(1).to(logits.dtype) for mask in (targets, known)))
    return MaskSums(*part.sums())


def sums_of_features(
    features: Float[Tensor, "d i j k"], vectors: Float[Tensor, "o d"], targets: Masks, known: Masks
) -> MaskSums:
    """Return ``sums_of_logits`` of the masks ``compare`` would give, which are not kept.

    Args:
        features: What class vectors are compared with.
        vectors: Of the classes.
        targets: Where each class is.
        known: Where that is known.
    """
    sums: Tensor = _Compared.apply(features, vectors, targets, known)  # type: ignore[no-untyped-call]
    return MaskSums(*sums.unbind())


class _Part(NamedTuple):
    """Some voxels of every mask; the masks as numbers, which multiply faster."""

    logits: Float[Tensor, "o v"]
    targets: Float[Tensor, "o v"]
    known: Float[Tensor, "o v"]

    def sums(self) -> tuple[Tensor, ...]:
        """Return the sums, in the order of ``MaskSums``."""
        x, y, known = self
        p = x.sigmoid()
        entropy = functional.softplus(x) - x * y
        known_p = p * known
        parts = (known_p * y, known_p, known_p * p, entropy * known, entropy * y, y * known, known, y)
        return tuple(part.sum(1) for part in parts)

    def gradient(self, of_sums: Float[Tensor, "8 o"]) -> Float[Tensor, "o v"]:
        """Return a loss's gradient to the logits, where that to the sums is given; the last three are counts."""
        overlap, probability, squared, entropy, missed, *_ = of_sums[..., None]  # [o 1]
        x, y, known = self
        p = x.sigmoid()
        error = p - y
        slope = (1 - p).mul_(p)
        gradient = torch.addcmul(probability, overlap, y).addcmul_(2 * squared, p).mul_(slope)
        gradient.addcmul_(entropy, error).mul_(known)
        return gradient.addcmul_(missed, error.mul_(y))


class _Compared(torch.autograd.Function):
    """The sums that depend on logits ``vectors @ features``, and their gradient, from logits made twice."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, vectors: Tensor, targets: Tensor, known: Tensor
    ) -> Float[Tensor, "8 o"]:
        kind = features.device.type
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
        ctx.save_for_backward(features, vectors, targets, known)
        total = torch.zeros(8, len(vectors), dtype=widest(features.device), device=features.device)
        with torch.autocast(kind, enabled=False):
            for _, _, part in _parts(features, vectors.to(ctx.dtype), targets, known):
                total += torch.stack(part.sums())
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sums: Tensor) -> tuple[Tensor | None, ...]:
        features, vectors, targets, known = ctx.saved_tensors
        rounded = vectors.to(ctx.dtype)
        to_features = torch.empty_like(features)
        to_vectors = torch.zeros_like(vectors, dtype=torch.float32)
        target = to_features.view(len(features), -1).T  # [v d]; never a copy
        for voxels, rows, part in _parts(features, rounded, targets, known):
            to_logits = part.gradient(of_sums).to(ctx.dtype)  # [o v]
            target[voxels] = to_logits.T @ rounded
            to_vectors += (to_logits @ rows).float()
        return to_features, to_vectors.to(vectors.dtype), None, None


def _parts(
    features: Tensor, vectors: Tensor, targets: Tensor, known: Tensor
) -> Iterator[tuple[slice, Float[Tensor, "v d"], _Part]]:
    """Walk through a window some voxels at a time: which, their features, and their part of each mask."""
    flat, masks, sure = (each.flatten(1) for each in (features, targets, known))
    for start in range(0, flat.shape[1], VOXELS_AT_ONCE):
        voxels = slice(start, start + VOXELS_AT_ONCE)
        rows = flat[:, voxels].to(vectors.dtype).T
        logits = (vectors @ rows.T).float()
        yield voxels, rows, _Part(logits, masks[:, voxels].to(logits.dtype), sure[:, voxels].to(logits.dtype))
