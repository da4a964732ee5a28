"""Axial rotary position: patches are told apart by turning queries and keys, with nothing learned.

Paper: DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), after Su et al. 2021, arXiv:2104.09864. Half of a head's
channels are turned by where a patch lies along h, half along w; places run from -1 to 1 over the image, so an image
of any size is one the network knows. Angles and turning are in float32: in bf16, as in some official code, sines
and cosines of a 56 x 56 grid are wrong by up to 0.03.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.errors import UsageError

Rotation = tuple[Float[Tensor, "p f"], Float[Tensor, "p f"]]
"""Sines and cosines of every patch ``p``, for all channels of a head; in float32."""


@dataclass(frozen=True, kw_only=True)
class RotaryAugmentation:
    """How the places of patches are varied while training, once a call; the defaults vary nothing."""

    shift: float = 0.0
    """Largest shift of each axis, uniform; the image is 2 wide."""
    jitter: float = 1.0
    """Largest factor of each axis by itself, log-uniform."""
    rescale: float = 1.0
    """Largest factor of both axes together, log-uniform; DINOv3 pretrains with 2."""

    def __post_init__(self) -> None:
        if self.shift < 0 or min(self.jitter, self.rescale) < 1:
            raise UsageError(
                expected="a shift of at least 0, and factors of at least 1",
                got=str(self),
                do="leave out what shall not vary",
            )

    def __call__(
        self, places: Float[Tensor, "t 2"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "t 2"]:
        """Return the places as one draw has them: shifted, then stretched."""

        def draw(size: int, largest: float) -> Tensor:
            drawn = torch.rand(size, generator=generator, device=generator.device if generator else places.device)
            return (largest * (2 * drawn - 1)).to(places.device)

        if self.shift > 0:
            places = places + draw(2, self.shift)
        if self.jitter > 1:
            places = places * draw(2, math.log(self.jitter)).exp()
        if self.rescale > 1:
            places = places * draw(1, math.log(self.rescale)).exp()
        return places


def periods(head_width: int, base: float) -> Float[Tensor, " f"]:
    """Return the periods of the angles, from 1 to nearly ``base``; the image is 2 wide.

    Args:
        head_width: Channels of a head; a quarter as many periods, for a pair of channels on each of two axes.
        base: The period the series grows towards.
    """
    count = head_width // 4
    return base ** (torch.arange(count, dtype=torch.float32) / count)


def patch_places(grid: tuple[int, int], device: torch.device | str = "cpu") -> Float[Tensor, "t 2"]:
    """Return where the centres of patches lie along h and w, in -1..1, w fastest."""
    axes = [(torch.arange(side, dtype=torch.float32, device=device) + 0.5) / side for side in grid]
    return 2 * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2) - 1


def rotation(places: Float[Tensor, "p 2"], head_width: int, base: float) -> Rotation:
    """Return the sines and cosines by which queries and keys of patches are turned.

    Args:
        places: Along h and w, in -1..1.
        head_width: Channels of a head.
        base: The period the series grows towards.
    """
    turns = places[:, :, None] / periods(head_width, base).to(places.device)  # [t 2 f/4]
    angles = (2 * math.pi * turns).reshape(len(places), -1).tile(2)  # [t f]: h, w, h, w
    return angles.sin(), angles.cos()


def rotate(tokens: Float[Tensor, "b heads t f"], by: Rotation) -> Float[Tensor, "b heads t f"]:
    """Turn the tokens of patches; those before them (class, registers) stand for no place and stay.

    Args:
        tokens: Queries or keys, the patches last.
        by: Of the patches.
    """
    sines, cosines = by
    first = tokens.shape[2] - len(sines)
    patches = tokens[:, :, first:].float()
    low, high = patches.chunk(2, dim=-1)
    turned = patches * cosines + torch.cat([-high, low], dim=-1) * sines
    return torch.cat([tokens[:, :, :first], turned.to(tokens.dtype)], dim=2)
