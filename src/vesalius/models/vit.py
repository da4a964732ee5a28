"""The vision transformer of DINOv3 and MedDINOv3: an image of any size -> tokens of every depth.

Papers: DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), MedDINOv3 (Li et al. 2025, arXiv:2509.02379). Agrees with
the implementations in transformers and timm to rounding. Deliberate differences from the official code: positions
in float32 instead of bf16; each sample drops a branch by itself; an image whose sides are no multiple of the patch
is filled up instead of cut off; one channel stands for all channels of the stem.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vesalius.errors import UsageError
from vesalius.models.layers.patch_embedding import PatchEmbedding
from vesalius.models.layers.rotary import RotaryAugmentation, patch_places, rotation
from vesalius.models.layers.transformer import RotaryBlock, Step, TokenLayout
from vesalius.spec import VitArchitecture


class VitTokens(NamedTuple):
    """What a batch of images is at one depth, after the final norm."""

    class_token: Tensor  # [b d]
    registers: Tensor  # [b r d]
    patches: Tensor  # [b t d], w fastest
    grid: tuple[int, int]
    """Patches along h and w."""

    @property
    def feature_map(self) -> Float[Tensor, "b d h w"]:
        """The patches as an image of ``d`` channels."""
        height, width = self.grid
        return rearrange(self.patches, "b (h w) d -> b d h w", h=height, w=width)


class Vit(nn.Module):
    """The encoder, in tensors only.

    Args:
        architecture: Sizes.
    """

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.width
        self.patch_embedding = PatchEmbedding(architecture.in_channels, width, patch_size=architecture.patch_size)
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.registers = nn.Parameter(torch.empty(architecture.registers, width))
        self.mask_token = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(
            RotaryBlock(
                width,
                heads=architecture.heads,
                inner_width=architecture.mlp_ratio * width,
                qkv_bias=architecture.qkv_bias,
                norm_eps=architecture.norm_eps,
                layer_scale=architecture.layer_scale,
            )
            for _ in range(architecture.depth)
        )
        self.norm = nn.LayerNorm(width, eps=architecture.norm_eps)
        self.adapters = nn.ModuleDict()
        """What adapters of several blocks share; empty unless ``adapt`` put something there."""
        self.augmentation = RotaryAugmentation()
        """How positions vary while training."""
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights as DINOv3 does: normal of 0.02 for maps and tokens, zeros for biases and mask token."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.class_token, self.registers):
            nn.init.normal_(token, std=0.02, generator=generator)
        nn.init.zeros_(self.mask_token)
        stem = self.patch_embedding.projection
        bound = stem.weight[0].numel() ** -0.5
        nn.init.uniform_(stem.weight, -bound, bound, generator=generator)
        assert stem.bias is not None
        nn.init.uniform_(stem.bias, -bound, bound, generator=generator)

    def drop_paths(self, probability: float) -> None:
        """Set how often, while training, a sample skips a branch: the same for all blocks.

        Raises:
            UsageError: If it is no probability below 1.
        """
        if not 0 <= probability < 1:
            raise UsageError(expected="a probability in [0, 1)", got=str(probability), do="0.2 is usual")
        for block in self.blocks:
            assert isinstance(block, RotaryBlock)
            block.drop_path = probability

    def set_channels(self, channels: int) -> None:
        """Give the stem another number of channels; an image repeated over them is answered as before.

        Raises:
            UsageError: If it is no number of channels.
        """
        if channels < 1:
            raise UsageError(expected="at least one channel", got=str(channels), do="choose a positive number")
        self.architecture = replace(self.architecture, in_channels=channels)
        self.patch_embedding.set_channels(channels)

    def forward(
        self,
        images: Float[Tensor, "b c h w"],
        taps: Sequence[int] | None = None,
        *,
        is_masked: Bool[Tensor, "b t"] | None = None,
        slices: int = 1,
        generator: torch.Generator | None = None,
    ) -> list[VitTokens]:
        """Return the tokens after some of the blocks.

        Args:
            images: Normalised as the weights expect; of any size, filled up to whole patches at the far ends.
            taps: Numbers of the blocks, from 0; None is the last.
            is_masked: Patches that are hidden behind the mask token; w fastest.
            slices: How many neighbouring slices of one volume follow one another on the batch axis.
            generator: Where the randomness of training comes from; None is torch's own.

        Returns:
            For each tap, in the order asked for, the tokens after the final norm, which all depths share.

        Raises:
            UsageError: If there is no such block, or the batch holds no whole number of volumes.
        """
        taps = [self.architecture.depth - 1] if taps is None else list(taps)
        self._check(len(images), taps, slices)
        tokens, layout = self._embed(images, is_masked, slices)
        places = patch_places(layout.grid, images.device)
        if self.training:
            places = self.augmentation(places, generator)
        head_width = self.architecture.width // self.architecture.heads
        step = Step(rotation(places, head_width, self.architecture.rope_base), layout, generator)
        found: dict[int, VitTokens] = {}
        for number, block in enumerate(self.blocks):
            if len(found) == len(set(taps)):
                break
            tokens = block(tokens, step)
            if number in taps:
                found[number] = self._finished(tokens, layout)
        return [found[tap] for tap in taps]

    def feature_maps(
        self, images: Float[Tensor, "b c h w"], taps: Sequence[int] | None = None, *, slices: int = 1
    ) -> list[Float[Tensor, "b d y x"]]:
        """Return the patches after some of the blocks, as images of ``d`` channels; see ``forward``."""
        return [tokens.feature_map for tokens in self(images, taps, slices=slices)]

    def _embed(self, images: Tensor, is_masked: Tensor | None, slices: int) -> tuple[Tensor, TokenLayout]:
        embedded = self.patch_embedding(images).to(self.class_token.dtype)
        grid = (embedded.shape[2], embedded.shape[3])
        patches = rearrange(embedded, "b d h w -> b (h w) d")
        if is_masked is not None:
            patches = torch.where(is_masked[:, :, None], self.mask_token, patches)
        else:  # keeps the parameter in the graph, which distributed training wants
            patches = patches + 0 * self.mask_token
        prefix = torch.cat([self.class_token, self.registers]).expand(len(images), -1, -1)
        return torch.cat([prefix, patches], dim=1), TokenLayout(prefix.shape[1], grid, slices)

    def _finished(self, tokens: Tensor, layout: TokenLayout) -> VitTokens:
        tokens = self.norm(tokens)
        return VitTokens(tokens[:, 0], tokens[:, 1 : layout.prefix], tokens[:, layout.prefix :], layout.grid)

    def _check(self, batch: int, taps: Sequence[int], slices: int) -> None:
        depth = self.architecture.depth
        if not taps or any(not 0 <= tap < depth for tap in taps):
            raise UsageError(
                expected=f"numbers of blocks from 0 to {depth - 1}", got=str(list(taps)), do="choose other taps"
            )
        if slices < 1 or batch % slices:
            raise UsageError(
                expected=f"a batch of whole volumes of {slices} slices",
                got=f"{batch} images",
                do="give every volume the same number of slices",
            )


class SliceWise(nn.Module):
    """Lifts a 2-D encoder to volumes: each slice by itself, or together where adapters look at neighbours.

    Args:
        encoder: Its ``feature_maps`` takes images and ``slices``, the number of them that make a volume.
    """

    def __init__(self, encoder: Vit) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, volumes: Float[Tensor, "b c i j k"], taps: Sequence[int] | None = None
    ) -> list[Float[Tensor, "b d x y k"]]:
        """Return features of every slice.

        Args:
            volumes: Slices along the last axis.
            taps: Numbers of the blocks, from 0; None is the last.
        """
        count = volumes.shape[4]
        images = rearrange(volumes, "b c i j k -> (b k) c i j")
        maps = self.encoder.feature_maps(images, taps, slices=count)
        return [rearrange(found, "(b k) d h w -> b d h w k", k=count) for found in maps]
