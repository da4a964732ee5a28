"""Self-attention over a grid of tokens whose logits also say how many rows and columns lie between two tokens.

Paper: Li et al. 2022, MViTv2, arXiv:2112.01526, section 4.1, as ViTDet (arXiv:2203.16527) and SAM use it
(arXiv:2304.02643). Deliberate difference from SAM's code: the logits of some heads at a time. Those of a whole
image of 64 x 64 patches are 64 MB for each head; an image takes a ViT-B 0.4 GB beside its weights
(``benchmarks/results/supervoxels.json``).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.transformer import AdaptableLinear

_LOGITS_AT_ONCE = 1 << 24
"""One head of an image of 64 x 64 patches, or 436 heads of windows of 14 x 14."""


class RelativeAttention(nn.Module):
    """Multi-head self-attention; to the logit of a query and a key is added how the query meets their distance.

    Args:
        width: Channels of the tokens.
        heads: Number of heads; divides ``width``.
        side: Tokens along each side of the grid it learns with.
    """

    def __init__(self, width: int, *, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = AdaptableLinear(width, 3 * width)
        self.out = AdaptableLinear(width, width)
        self.row_distances = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.column_distances = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, grid: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        """Return for each token the mixture of values whose keys resemble its query and lie where it looks."""
        mapped = self.qkv(grid)
        queries, keys, values = rearrange(mapped, "b y x (three h f) -> three (b h) y x f", three=3, h=self.heads)
        rows = between(self.row_distances, grid.shape[1])
        columns = between(self.column_distances, grid.shape[2])
        at_once = max(1, _LOGITS_AT_ONCE // (grid.shape[1] * grid.shape[2]) ** 2)
        parts = zip(queries.split(at_once), keys.split(at_once), values.split(at_once), strict=True)
        mixed = torch.cat([_attend(q, k, v, rows, columns) for q, k, v in parts])
        attended: Tensor = self.out(rearrange(mixed, "(b h) y x f -> b y x (h f)", h=self.heads))
        return attended


def between(distances: Float[Tensor, "n f"], side: int) -> Float[Tensor, "q k f"]:
    """Return what is learnt of the distance from each of so many tokens in a row to each other, in float32.

    Args:
        distances: From the farthest behind the query to the farthest before it; for a grid of another size than
            it was learnt with they are interpolated.
        side: Number of tokens in the row.
    """
    table = distances.float()
    if len(table) != 2 * side - 1:
        table = functional.interpolate(table.T[None], size=2 * side - 1, mode="linear")[0].T
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


def _attend(
    queries: Float[Tensor, "n y x f"],
    keys: Float[Tensor, "n y x f"],
    values: Float[Tensor, "n y x f"],
    rows: Float[Tensor, "y y f"],
    columns: Float[Tensor, "x x f"],
) -> Float[Tensor, "n y x f"]:
    by_row = einsum(queries.float(), rows, "n y x f, y i f -> n y x i")
    by_column = einsum(queries.float(), columns, "n y x f, x j f -> n y x j")
    logits = rearrange(by_row, "n y x i -> n y x i 1") + rearrange(by_column, "n y x j -> n y x 1 j")
    bias = rearrange(logits, "n y x i j -> n 1 (y x) (i j)").to(queries.dtype)
    q, k, v = (rearrange(one, "n y x f -> n 1 (y x) f") for one in (queries, keys, values))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return rearrange(mixed, "n 1 (y x) f -> n y x f", x=queries.shape[2])
