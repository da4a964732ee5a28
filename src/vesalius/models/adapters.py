"""Adapters: small modules that learn in place of a frozen encoder, which starts as the encoder it was.

Papers: LoRA (Hu et al. 2021, arXiv:2106.09685); FacT (Jie & Deng 2023, arXiv:2212.03145, its tensor-train form);
depth adapters as ST-Adapter (Pan et al. 2022, arXiv:2206.13559) with slices in the place of frames. Each holds a
factor that starts at zero, so that at first nothing changes, bit for bit.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import assert_never

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.errors import UsageError
from vesalius.models.layers.transformer import AdaptableLinear, RotaryBlock, TokenLayout
from vesalius.models.vit import Vit
from vesalius.spec import AdapterPlan, Depth, Fact, LinearName, Lora


def adapt(encoder: Vit, *plans: AdapterPlan, generator: torch.Generator | None = None) -> Vit:
    """Freeze an encoder and attach adapters, in place; at first its answers stay what they were, bit for bit.

    Args:
        encoder: Without adapters.
        plans: At least one; several may be combined, but not two of one kind at one place.
        generator: Where their first values come from; None is torch's own.

    Returns:
        The same encoder, where it was; only the adapters' parameters learn.

    Raises:
        UsageError: If there is no plan, two are for one place, or the encoder has adapters already.
    """
    places = [(plan.kind, plan.site if isinstance(plan, Depth) else "") for plan in plans]
    if len(set(places)) < len(places):
        raise UsageError(
            expected="plans of different kinds, or for different sites",
            got=", ".join(f"{kind} {site}".strip() for kind, site in places),
            do="leave one out, or raise its rank",
        )
    if not plans or has_adapters(encoder):
        raise UsageError(
            expected="an encoder without adapters, and at least one plan",
            got=f"{len(plans)} plans, and an encoder {'with' if has_adapters(encoder) else 'without'} adapters",
            do="give all plans in one call",
        )
    encoder.requires_grad_(False)
    for plan in plans:
        match plan:
            case Lora():
                _attach_lora(encoder, plan, generator)
            case Fact():
                _attach_fact(encoder, plan, generator)
            case Depth():
                _attach_depth(encoder, plan, generator)
            case _:
                assert_never(plan)
    return encoder.to(encoder.class_token.device)  # new factors were made on the processor


def has_adapters(encoder: Vit) -> bool:
    """Say whether anything is attached to an encoder."""
    open_places = [module for module in encoder.modules() if isinstance(module, AdaptableLinear | RotaryBlock)]
    return any(len(m.increments if isinstance(m, AdaptableLinear) else m.sites) for m in open_places)


class LoraIncrement(nn.Module):
    """``scale * up(down(tokens))``; ``up`` starts at zero."""

    def __init__(self, linear: AdaptableLinear, plan: Lora, generator: torch.Generator | None) -> None:
        super().__init__()
        self.scale = plan.scale
        self.down = nn.Parameter(_drawn((plan.rank, linear.in_features), generator))
        self.up = nn.Parameter(torch.zeros(linear.out_features, plan.rank))

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t e"]:
        """Return what is added to the map's output."""
        return self.scale * functional.linear(functional.linear(tokens, self.down), self.up)


class FactFactors(nn.Module):
    """The two outer factors that all maps of an encoder share; the second starts at zero."""

    def __init__(self, width: int, rank: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.down = nn.Parameter(_drawn((rank, width), generator))
        self.up = nn.Parameter(torch.zeros(width, rank))


class FactIncrement(nn.Module):
    """The part of the tensor that belongs to one map, cut into squares of the encoder's width.

    Of a square: ``scale * up @ core @ down``. Squares in a row are added up, those in a column stand side by side.
    """

    def __init__(
        self, linear: AdaptableLinear, factors: FactFactors, scale: float, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        rank, width = factors.down.shape
        squares = (linear.out_features // width, linear.in_features // width)
        self.scale = scale
        self.core = nn.Parameter(_drawn((*squares, rank, rank), generator))
        self._factors = (factors,)  # a tuple, so that their one home stays the encoder's ``adapters``

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t e"]:
        """Return what is added to the map's output."""
        factors = self._factors[0]
        squares = rearrange(tokens, "b t (q d) -> b t q d", q=self.core.shape[1])
        thin = functional.linear(squares, factors.down)  # [b t q r]
        mixed = torch.einsum("btqr,pqsr->btps", thin, self.core)
        return self.scale * rearrange(functional.linear(mixed, factors.up), "b t p d -> b t (p d)")


class DepthAdapter(nn.Module):
    """Tokens of the same place in neighbouring slices, mixed in a narrow space and added; ``up`` starts at zero."""

    def __init__(self, width: int, plan: Depth, generator: torch.Generator | None) -> None:
        super().__init__()
        self.down = nn.Parameter(_drawn((plan.width, width), generator))
        self.along_slices = nn.Parameter(_drawn((plan.width, 1, plan.neighbours), generator))
        self.up = nn.Parameter(torch.zeros(width, plan.width))

    def forward(self, tokens: Float[Tensor, "b t d"], layout: TokenLayout) -> Float[Tensor, "b t d"]:
        """Return the tokens with what their neighbours in other slices add."""
        count, k = tokens.shape[1], layout.slices
        narrow = rearrange(functional.linear(tokens, self.down), "(v k) t r -> (v t) r k", k=k)
        channels, _, neighbours = self.along_slices.shape
        mixed = functional.conv1d(narrow, self.along_slices, padding=neighbours // 2, groups=channels)
        mixed = rearrange(functional.gelu(mixed), "(v t) r k -> (v k) t r", t=count)
        return tokens + functional.linear(mixed, self.up)


def _attach_lora(encoder: Vit, plan: Lora, generator: torch.Generator | None) -> None:
    for linear in _maps(encoder, plan.maps):
        linear.increments["lora"] = LoraIncrement(linear, plan, generator)


def _attach_fact(encoder: Vit, plan: Fact, generator: torch.Generator | None) -> None:
    factors = FactFactors(encoder.architecture.width, plan.rank, generator)
    encoder.adapters["fact"] = factors
    for linear in _maps(encoder, plan.maps):
        linear.increments["fact"] = FactIncrement(linear, factors, plan.scale, generator)


def _attach_depth(encoder: Vit, plan: Depth, generator: torch.Generator | None) -> None:
    for block in encoder.blocks:
        assert isinstance(block, RotaryBlock)
        block.sites[plan.site] = DepthAdapter(encoder.architecture.width, plan, generator)


def _maps(encoder: Vit, names: tuple[LinearName, ...]) -> Iterator[AdaptableLinear]:
    for block in encoder.blocks:
        assert isinstance(block, RotaryBlock)
        maps = {"qkv": block.attention.qkv, "out": block.attention.out}
        maps |= {"expand": block.mlp.expand, "contract": block.mlp.contract}
        yield from (maps[name] for name in names)


def _drawn(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Draw a factor that keeps the variance of what passes through it."""
    drawn = torch.randn(shape, generator=generator)
    return drawn / math.sqrt(shape[-1])
