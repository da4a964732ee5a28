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
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Logits = Float[Tensor, "o i j k"]
Masks = Bool[Tensor, "o i j k"]

VOXELS_AT_ONCE = 1 << 15
"""What is made of twenty masks of so many voxels stays in a processor's cache."""


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
    part = _Part(logits.flatten(1), targets.flatten(1), known.flatten(1))
    return _with_counts(torch.stack(part.sums()).float(), targets, known)


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
    sums = _Compared.apply(features, vectors, targets, known)  # type: ignore[no-untyped-call]
    return _with_counts(sums, targets, known)


class _Part(NamedTuple):
    """Some voxels of every mask."""

    logits: Float[Tensor, "o v"]
    targets: Bool[Tensor, "o v"]
    known: Bool[Tensor, "o v"]

    def sums(self) -> tuple[Tensor, ...]:
        """Return the sums that depend on the logits, in the order of ``MaskSums``."""
        y = self.targets.to(self.logits.dtype)
        p = self.logits.sigmoid() * self.known
        entropy = (functional.softplus(self.logits) - self.logits * y) * self.known
        parts = (p * y, p, p.square(), entropy, functional.softplus(-self.logits) * y)
        return tuple(part.sum(1) for part in parts)

    def gradient(self, of_sums: Float[Tensor, "5 o"]) -> Float[Tensor, "o v"]:
        """Return the gradient of a loss to the logits, where that to the sums is given."""
        overlap, probability, squared, entropy, missed = of_sums[..., None]  # [o 1]
        y, p = self.targets.to(self.logits.dtype), self.logits.sigmoid()
        gradient: Tensor = overlap * y + probability + 2 * squared * p
        gradient.mul_(p * (1 - p)).add_(entropy * (p - y)).mul_(self.known)
        return gradient.add_(missed * y * (p - 1))


class _Compared(torch.autograd.Function):
    """The sums that depend on logits ``vectors @ features``, and their gradient, from logits made twice."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, vectors: Tensor, targets: Tensor, known: Tensor
    ) -> Float[Tensor, "5 o"]:
        kind = features.device.type
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
        ctx.save_for_backward(features, vectors, targets, known)
        wide = torch.float32 if kind == "mps" else torch.float64
        total = torch.zeros(5, len(vectors), dtype=wide, device=features.device)
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
        target = rearrange(to_features, "d i j k -> i j k d")
        for planes, rows, part in _parts(features, rounded, targets, known):
            to_logits = part.gradient(of_sums).to(ctx.dtype)  # [o v]
            target[planes] = (to_logits.T @ rounded).view_as(target[planes])
            to_vectors += (to_logits @ rows).float()
        return to_features, to_vectors.to(vectors.dtype), None, None


def _parts(
    features: Tensor, vectors: Tensor, targets: Tensor, known: Tensor
) -> Iterator[tuple[slice, Float[Tensor, "v d"], _Part]]:
    """Walk through a window some planes at a time: where, the voxels' features, and their part of each mask."""
    _, i, j, k = features.shape
    length = max(1, VOXELS_AT_ONCE // (j * k))
    for start in range(0, i, length):
        planes = slice(start, min(start + length, i))
        rows = rearrange(features[:, planes].to(vectors.dtype), "d i j k -> (i j k) d")
        logits = (vectors @ rows.T).float()
        yield planes, rows, _Part(logits, targets[:, planes].flatten(1), known[:, planes].flatten(1))


def _with_counts(sums: Float[Tensor, "5 o"], targets: Masks, known: Masks) -> MaskSums:
    overlap, probability, squared, entropy, missed = sums.unbind()
    expected, of_known, own = (mask.flatten(1).sum(1).float() for mask in (targets & known, known, targets))
    return MaskSums(overlap, probability, squared, entropy, missed, expected, of_known, own)
