"""Attention with separate queries, keys and values, and an inner width that may be narrower than the outer."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


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
            rearrange(projection(tokens), "o t (h d) -> o h t d", h=self.heads)
            for projection, tokens in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.out(rearrange(mixed, "o h s d -> o s (h d)"))
        return projected
