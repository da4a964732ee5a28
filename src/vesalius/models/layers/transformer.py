"""A transformer block with rotary attention, open at named places: what adapters attach to without touching it.

A block is open in two ways. Its linear maps are ``AdaptableLinear``, to whose output increments can be added (LoRA,
FacT). And between its parts are *sites*, empty at first, where a module can look at and change all tokens (depth
adapters). An empty block costs nothing for it and has the same state dict.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.rotary import Rotation, rotate
from vesalius.spec import Site


class TokenLayout(NamedTuple):
    """What the tokens of a batch stand for."""

    prefix: int
    """Tokens before the patches: the class token and the registers."""
    grid: tuple[int, int]
    """Patches along h and w; w fastest."""
    slices: int
    """Neighbouring slices of one volume that follow one another on the batch axis; 1 where images are unrelated."""


class Step(NamedTuple):
    """What is the same for all blocks of one pass."""

    rotation: Rotation
    layout: TokenLayout
    generator: torch.Generator | None = None
    """Where the randomness of training comes from; None is torch's own."""


class AdaptableLinear(nn.Linear):
    """A linear map to whose output increments can be added; without them it is ``nn.Linear``.

    ``increments`` holds modules that take the map's input and return what is added to its output, in float32.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.increments = nn.ModuleDict()

    def forward(self, tokens: Tensor) -> Tensor:  # [*b in] -> [*b out]
        """Map tokens in the precision of the weights."""
        mapped = functional.linear(tokens.to(self.weight.dtype), self.weight, self.bias)
        for increment in self.increments.values():
            mapped = mapped + increment(tokens.float()).to(mapped.dtype)
        return mapped


class RotaryAttention(nn.Module):
    """Multi-head self-attention of tokens whose queries and keys know their place.

    Args:
        width: Channels of the tokens.
        heads: Number of heads; divides ``width``.
        qkv_bias: Whether queries and values have a bias. Keys never have one, as in DINOv3.
    """

    def __init__(self, width: int, *, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = AdaptableLinear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.value_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.out = AdaptableLinear(width, width)

    def forward(self, tokens: Float[Tensor, "b t d"], rotation: Rotation) -> Float[Tensor, "b t d"]:
        """Return for each token the mixture of values whose keys resemble its query."""
        mapped = self.qkv(tokens)
        if self.query_bias is not None and self.value_bias is not None:
            bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
            mapped = mapped + bias.to(mapped.dtype)
        queries, keys, values = rearrange(mapped, "b t (three h f) -> three b h t f", three=3, h=self.heads)
        queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        attended: Tensor = self.out(rearrange(mixed, "b h t f -> b t (h f)"))
        return attended


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between them, for each token by itself."""

    def __init__(self, width: int, *, inner_width: int) -> None:
        super().__init__()
        self.expand = AdaptableLinear(width, inner_width)
        self.contract = AdaptableLinear(inner_width, width)

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Return what is added to the tokens."""
        mapped: Tensor = self.contract(functional.gelu(self.expand(tokens)))
        return mapped


class LayerScale(nn.Module):
    """A learned factor for each channel of a branch (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int, *, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Scale a branch; half-precision branches come back in the precision of the factor."""
        return tokens * self.gamma


class RotaryBlock(nn.Module):
    """Attention, then an MLP, each on normalised tokens and added to them.

    Args:
        width: Channels of the tokens.
        heads: Number of heads.
        inner_width: Inner width of the MLP.
        qkv_bias: Whether queries and values have a bias.
        norm_eps: Of both layer norms.
        layer_scale: What both factors start at.
    """

    def __init__(
        self, width: int, *, heads: int, inner_width: int, qkv_bias: bool, norm_eps: float, layer_scale: float
    ) -> None:
        super().__init__()
        self.drop_path = 0.0
        """Probability, for each sample by itself, that a branch is left out while training."""
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = RotaryAttention(width, heads=heads, qkv_bias=qkv_bias)
        self.scale1 = LayerScale(width, start=layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, inner_width=inner_width)
        self.scale2 = LayerScale(width, start=layer_scale)
        self.sites = nn.ModuleDict()
        """Site -> module of tokens and layout."""

    def forward(self, tokens: Float[Tensor, "b t d"], step: Step) -> Float[Tensor, "b t d"]:
        """Return the tokens after both branches."""
        tokens = self._at("before_attention", tokens, step)
        branch = self.scale1(self.attention(self.norm1(tokens), step.rotation))
        tokens = self._at("after_attention", tokens + self._kept(branch, step), step)
        branch = self.scale2(self.mlp(self.norm2(tokens)))
        return self._at("after_mlp", tokens + self._kept(branch, step), step)

    def _at(self, site: Site, tokens: Tensor, step: Step) -> Tensor:
        return self.sites[site](tokens, step.layout) if site in self.sites else tokens

    def _kept(self, branch: Tensor, step: Step) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        return branch * kept_samples(len(branch), self.drop_path, step.generator).to(branch)[:, None, None]


def kept_samples(count: int, drop: float, generator: torch.Generator | None = None) -> Float[Tensor, " b"]:
    """Draw for each sample by itself whether a branch is kept (then scaled up, so that its mean stays) or 0.

    The official code drops a fixed part of each batch, which is half of it where a batch has two samples.

    Args:
        count: Samples in the batch.
        drop: Probability to be left out, in [0, 1).
        generator: Where the draw comes from; None is torch's own.
    """
    kept = torch.rand(count, generator=generator, device=generator.device if generator else "cpu") >= drop
    return kept.float() / (1 - drop)
