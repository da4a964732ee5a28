"""MedDINOv3 as a segmenter of slices: a vision transformer, features of several depths, a decoder.

Paper: Li et al. 2025, arXiv:2509.02379. The features of all depths pass the encoder's one final norm; they have the
same stride, so "multi-scale" in the paper means several depths.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.models.adapters import adapt
from vesalius.models.decoders import FusedDecoder, LinearDecoder, PrimusDecoder
from vesalius.models.vit import Vit
from vesalius.spec import MedDinoArchitecture


class MedDino(nn.Module):
    """The network, in tensors only.

    Args:
        architecture: Encoder, its adapters, taps, decoder and number of classes.
    """

    def __init__(self, architecture: MedDinoArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Vit(architecture.encoder)
        if architecture.adapters:
            adapt(self.encoder, *architecture.adapters)
        self.decoder = make_decoder(architecture)

    def forward(
        self,
        images: Float[Tensor, "b c h w"],
        *,
        slices: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Return the logits of every class for every pixel, background first.

        Args:
            images: Normalised as the spec says; of any size.
            slices: How many neighbouring slices of one volume follow one another on the batch axis.
            generator: Where the randomness of training comes from; None is torch's own.
        """
        found = self.encoder(images, self.architecture.taps, slices=slices, generator=generator)
        logits: Tensor = self.decoder([tokens.feature_map for tokens in found])
        return logits[:, :, : images.shape[2], : images.shape[3]]  # what was filled up is cut off


def make_decoder(architecture: MedDinoArchitecture) -> FusedDecoder | PrimusDecoder | LinearDecoder:
    """Return the decoder of an architecture, randomly initialised."""
    encoder, taps, classes = architecture.encoder, len(architecture.taps), architecture.num_classes
    match architecture.decoder:
        case "fused":
            return FusedDecoder(encoder.width, taps=taps, patch_size=encoder.patch_size, num_classes=classes)
        case "primus":
            return PrimusDecoder(taps * encoder.width, patch_size=encoder.patch_size, num_classes=classes)
        case "linear":
            return LinearDecoder(taps * encoder.width, patch_size=encoder.patch_size, num_classes=classes)
        case _:
            assert_never(architecture.decoder)
