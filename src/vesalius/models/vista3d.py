"""VISTA3D: one encoder, and a decoder and a head each for class prompts and for clicks.

Paper: He et al., CVPR 2025, arXiv:2406.05285. Agrees with MONAI's ``vista3d132`` to rounding.

The layout is channels-last inside, whatever the caller gives; ``optimise_for_inference`` lays out the weights
alike.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.models.class_head import ClassHead
from vesalius.models.point_head import PointHead
from vesalius.models.promptable import Promptable
from vesalius.models.segresnet import Decoder, Encoder
from vesalius.spec import VistaArchitecture


class Vista3D(Promptable):
    """The network, in tensors only.

    Args:
        architecture: Widths, levels and branches.
    """

    architecture: VistaArchitecture
    encoder: Encoder

    def __init__(self, architecture: VistaArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, levels = architecture.width, len(architecture.blocks_down)
        self.encoder = Encoder(architecture.in_channels, width=width, blocks=architecture.blocks_down)
        if architecture.class_branch:
            self.automatic_decoder = Decoder(width, levels=levels)
            self.class_head = ClassHead(architecture.num_embeddings, width)
        if architecture.point_branch:
            self.point_decoder = Decoder(width, levels=levels)
            self.point_head = PointHead(width, heads=architecture.point_heads)

    def _encode(self, windows: Float[Tensor, "b c i j k"]) -> list[Tensor]:
        windows = windows.to(self.encoder.first_conv.weight.dtype)
        windows = windows.contiguous(memory_format=torch.channels_last_3d)
        learns = any(parameter.requires_grad for parameter in self.encoder.parameters())
        if torch.is_grad_enabled() and not learns:
            return self._encode_frozen(windows)
        skips: list[Tensor] = self.encoder(windows)
        return skips

    @torch.no_grad()
    def _encode_frozen(self, windows: Tensor) -> list[Tensor]:
        """Encode as inference does, in autocast's precision, where decoders learn and the encoder does not."""
        kind = windows.device.type
        if kind == "cpu" and torch.is_autocast_enabled(kind):
            windows = windows.to(torch.get_autocast_dtype(kind))
        with torch.autocast(kind, enabled=kind != "cpu" and torch.is_autocast_enabled(kind)):
            skips: list[Tensor] = self.encoder(windows)
        return skips
