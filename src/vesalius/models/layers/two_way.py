"""Two-way transformer: prompt tokens attend to image tokens, and image tokens to prompt tokens.

Paper: Segment Anything (Kirillov et al. 2023, arXiv:2304.02643), mask decoder. As there, the first layer's
self-attention has neither positions nor a residual, because its tokens are still the bare prompts.

The image's positions are never added to its tokens, and its tokens come in slabs: ``attention`` says why.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.attention import Attention, Many, Places


class TwoWayTokens(NamedTuple):
    """Both sides of the conversation."""

    prompt: Float[Tensor, "o s d"]
    image: Sequence[Float[Tensor, "_ _ d"]]


class TwoWayLayer(nn.Module):
    """Self-attention of the prompt, prompt to image, MLP, image to prompt; a norm after each.

    Args:
        width: Channels of all tokens.
        heads: Attention heads.
        hidden_width: Channels inside the MLP.
        first: Whether this is the first layer.
    """

    def __init__(self, width: int, *, heads: int, hidden_width: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attention = Attention(width, inner_width=width, heads=heads)
        self.norm1 = nn.LayerNorm(width)
        self.prompt_to_image = Attention(width, inner_width=width // 2, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, hidden_width)
        self.mlp_out = nn.Linear(hidden_width, width)
        self.norm3 = nn.LayerNorm(width)
        self.image_to_prompt = Attention(width, inner_width=width // 2, heads=heads)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self, tokens: TwoWayTokens, prompt_position: Float[Tensor, "o s d"], places: Places
    ) -> TwoWayTokens:
        """Exchange once between prompt and image."""
        prompt, image = tokens
        if self.first:
            prompt = self.self_attention(prompt, prompt, prompt)
        else:
            placed = prompt + prompt_position
            prompt = prompt + self.self_attention(placed, placed, prompt)
        prompt = self.norm1(prompt)
        many = Many(image, places)
        prompt = self.norm2(prompt + self.prompt_to_image.of_many(prompt + prompt_position, many))
        prompt = self.norm3(prompt + self.mlp_out(functional.relu(self.mlp_in(prompt))))
        answers = self.image_to_prompt.for_many(many, prompt + prompt_position, prompt)
        return TwoWayTokens(prompt, [self.norm4(slab + answer) for slab, answer in answers])


class TwoWayTransformer(nn.Module):
    """Two-way layers, and a last look of the prompt at the image.

    Args:
        width: Channels of all tokens.
        depth: Number of layers.
        heads: Attention heads.
        hidden_width: Channels inside the MLPs.
    """

    def __init__(self, width: int, *, depth: int = 2, heads: int = 4, hidden_width: int = 512) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayLayer(width, heads=heads, hidden_width=hidden_width, first=layer == 0) for layer in range(depth)
        )
        self.final_attention = Attention(width, inner_width=width // 2, heads=heads)
        self.final_norm = nn.LayerNorm(width)

    def forward(
        self,
        prompt: Float[Tensor, "o s d"],
        image: Sequence[Float[Tensor, "1 _ d"]],
        places: Places,
    ) -> TwoWayTokens:
        """Let the prompts of several objects look at one image.

        Args:
            prompt: Tokens of each object.
            image: Tokens of the image all objects share, in slabs; each slab is worked on at once.
            places: Gives the dot products of vectors with the positions of the image tokens, in slabs as long.

        Returns:
            The prompt tokens, and for each object the image as it sees it.
        """
        tokens = TwoWayTokens(prompt, image)
        for layer in self.layers:
            tokens = layer(tokens, prompt, places)
        seen, image_of = tokens
        seen = seen + self.final_attention.of_many(seen + prompt, Many(image_of, places))
        return TwoWayTokens(self.final_norm(seen), image_of)
