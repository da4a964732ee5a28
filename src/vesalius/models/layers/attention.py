"""Attention with separate queries, keys and values, and an inner width that may be narrower than the outer.

A prompt has a few tokens and an image very many. Projecting the many is most of the cost, and none of it is needed:
a score q·(W x + b) is x·(W^T q) but for a constant that the softmax over x does not see, and a mixture of W x + b
is W applied to the mixture of x. So between few and many, only the few are projected; the results are the same.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Places = Callable[[Float[Tensor, "o n d"]], Iterator[Float[Tensor, "o n t"]]]
"""Vectors -> their dot products with the positions of many tokens, slab by slab."""


class Many(NamedTuple):
    """Very many tokens in slabs, and where they lie; positions take part in scores alone, never in values.

    A slab is what is worked on at once: as small as a cache, or everything.
    """

    slabs: Sequence[Float[Tensor, "_ _ d"]]
    places: Places

    def compare(self, vectors: Float[Tensor, "o n d"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each slab in the vectors' precision, and their dot products with its tokens plus positions."""
        for slab, places in zip(self.slabs, self.places(vectors), strict=True):
            tokens = slab.to(vectors.dtype).expand(len(vectors), -1, -1)
            yield tokens, torch.baddbmm(places, vectors, tokens.mT)


class Attention(nn.Module):
    """Multi-head attention of some tokens (queries) to others (keys, values).

    Args:
        width: Channels of all tokens.
        inner_width: Channels the attention happens in.
        heads: Number of heads; divides ``inner_width``.
    """

    def __init__(self, width: int, *, inner_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, inner_width)
        self.key = nn.Linear(width, inner_width)
        self.value = nn.Linear(width, inner_width)
        self.out = nn.Linear(inner_width, width)

    def forward(
        self, queries: Float[Tensor, "o s d"], keys: Float[Tensor, "o t d"], values: Float[Tensor, "o t d"]
    ) -> Float[Tensor, "o s d"]:
        """Return for each query the mixture of values whose keys resemble it."""
        q, k, v = (
            rearrange(projection(tokens), "o t (h e) -> o h t e", h=self.heads)
            for projection, tokens in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out(rearrange(mixed, "o h s e -> o s (h e)"))
        return projected

    def of_many(self, queries: Float[Tensor, "o s d"], many: Many) -> Float[Tensor, "o s d"]:
        """Return ``forward(queries, placed, tokens)`` of many tokens, placed where they lie.

        The softmax runs over slab after slab: its sums are kept relative to the largest score so far.
        """
        directions, constants = self._directions(self.query(queries), self.key)
        total: Tensor | float = 0.0
        mixed: Tensor | float = 0.0
        largest = torch.full_like(constants, -torch.inf)
        for tokens, compared in many.compare(directions):
            scores = compared + constants  # [o (h s) t]
            peak = torch.maximum(largest, scores.detach().amax(dim=-1, keepdim=True))
            weights, shrunk = (scores - peak).exp(), (largest - peak).exp()
            total = total * shrunk + weights.sum(dim=-1, keepdim=True)
            mixed = mixed * shrunk + weights @ tokens  # [o (h s) d]
            largest = peak
        mixture = rearrange(mixed / total, "o (h s) d -> o h s d", h=self.heads)
        values = einsum(mixture, self._by_head(self.value.weight), "o h s d, h e d -> o s h e")
        projected: Tensor = self.out(rearrange(values, "o s h e -> o s (h e)") + self.value.bias)
        return projected

    def for_many(
        self, many: Many, keys: Float[Tensor, "o s d"], values: Float[Tensor, "o s d"]
    ) -> Iterator[tuple[Float[Tensor, "o t d"], Float[Tensor, "o t d"]]]:
        """Yield each slab of many tokens, and ``forward(placed, keys, values)`` of it, placed where it lies."""
        directions, constants = self._directions(self.key(keys), self.query)
        v = rearrange(self.value(values), "o s (h e) -> o s h e", h=self.heads)
        outward = rearrange(self.out.weight, "d (h e) -> h e d", h=self.heads)
        answers = rearrange(einsum(v, outward, "o s h e, h e d -> o h s d"), "o h s d -> o (h s) d")
        for tokens, scores in many.compare(directions):
            by_head = rearrange(scores + constants, "o (h s) t -> o h s t", h=self.heads)
            weights = rearrange(by_head.softmax(dim=2), "o h s t -> o t (h s)")
            yield tokens, torch.baddbmm(self.out.bias, weights, answers)

    def _directions(
        self, few: Float[Tensor, "o s w"], projection: nn.Linear
    ) -> tuple[Float[Tensor, "o hs d"], Float[Tensor, "o hs 1"]]:
        """Say how few · projection(x), over the root of a head's width, depends on x: directions and constants."""
        width = few.shape[-1] // self.heads
        by_head = rearrange(few, "o s (h e) -> o h s e", h=self.heads) * width**-0.5
        directions = einsum(by_head, self._by_head(projection.weight), "o h s e, h e d -> o h s d")
        bias = rearrange(projection.bias, "(h e) -> h e", h=self.heads)
        constants = einsum(by_head, bias, "o h s e, h e -> o h s")
        return rearrange(directions, "o h s d -> o (h s) d"), rearrange(constants, "o h s -> o (h s) 1")

    def _by_head(self, weight: Float[Tensor, "w d"]) -> Float[Tensor, "h e d"]:
        return rearrange(weight, "(h e) d -> h e d", h=self.heads)
