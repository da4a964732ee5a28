"""A vision transformer with VISTA3D's heads: slices through the encoder, class prompts and clicks over the volume.

The encoder (MedDINOv3's, Li et al. 2025, arXiv:2509.02379, or any DINOv3 ViT) sees each slice, adapters along
slices see their neighbours. A decoder each brings the features of some depths to full resolution and the width of
the heads, which are VISTA3D's own (He et al. 2025, arXiv:2406.05285) and look at the volume: what runs and trains
that network runs and trains this one.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.models.adapters import adapt
from vesalius.models.class_head import ClassHead
from vesalius.models.decoders import FusedDecoder
from vesalius.models.point_head import PointHead
from vesalius.models.promptable import Promptable
from vesalius.models.vit import SliceWise, Vit, VitTokens
from vesalius.spec import PromptedVitArchitecture


class PromptedVit(Promptable):
    """The network, in tensors only; slices lie along the last axis.

    Args:
        architecture: Encoder, its adapters, taps, width and branches.
    """

    architecture: PromptedVitArchitecture
    encoder: SliceWise

    def __init__(self, architecture: PromptedVitArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        encoder = Vit(architecture.encoder)
        if architecture.adapters:
            adapt(encoder, *architecture.adapters)
        self.encoder = SliceWise(encoder)
        if architecture.class_branch:
            self.automatic_decoder = SliceDecoder(architecture)
            self.class_head = ClassHead(architecture.num_embeddings, architecture.width)
        if architecture.point_branch:
            self.point_decoder = SliceDecoder(architecture)
            self.point_head = PointHead(architecture.width, heads=architecture.point_heads)

    def slice_tokens(self, images: Float[Tensor, "b 1 h w"], taps: Sequence[int] | None = None) -> list[VitTokens]:
        """Return what the encoder says of slices by themselves, whose intensities lie in 0..1 as a window's do.

        Args:
            images: Of any size.
            taps: Numbers of the blocks, from 0; None is the last.
        """
        found: list[VitTokens] = self.encoder.encoder(self._as_the_encoder_sees(images), taps)
        return found

    def _encode(self, windows: Float[Tensor, "b 1 i j k"]) -> list[Tensor]:
        found: list[Tensor] = self.encoder(self._as_the_encoder_sees(windows), self.architecture.taps)
        return found

    def _as_the_encoder_sees(self, intensities: Tensor) -> Tensor:
        mean, deviation = self.architecture.mean_std
        return (intensities.float() - mean) / deviation


class SliceDecoder(nn.Module):
    """From features of every slice at the grid of patches to features of every voxel.

    Args:
        architecture: Says widths, taps and patch.
    """

    def __init__(self, architecture: PromptedVitArchitecture) -> None:
        super().__init__()
        encoder = architecture.encoder
        self.decoder = FusedDecoder(
            encoder.width,
            taps=len(architecture.taps),
            patch_size=encoder.patch_size,
            num_classes=architecture.width,
        )

    def forward(self, features: list[Tensor], *, consume: bool = False) -> Float[Tensor, "b d i j k"]:
        """Decode features ``[b w x y k]`` of some depths; channels lie last in memory, as the heads want them.

        Args:
            features: Of every tap.
            consume: Whether the list may be emptied.
        """
        count = features[0].shape[4]
        slices = [rearrange(found, "b w x y k -> (b k) w x y") for found in features]
        if consume:
            features.clear()  # what was not a view need not be held any longer
        decoded = rearrange(self.decoder(slices), "(b k) d i j -> b d i j k", k=count)
        laid_out: Tensor = decoded.contiguous(memory_format=torch.channels_last_3d)
        return laid_out
