"""VISTA3D: one encoder, and a decoder and a head each for class prompts and for clicks.

Paper: He et al., CVPR 2025, arXiv:2406.05285. Agrees with MONAI's ``vista3d132`` to rounding. Class and click
results are combined above this room, where windows and volumes are known.

The layout is channels-last inside, whatever the caller gives; ``optimise_for_inference`` lays out the weights
alike.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vesalius.errors import NoHeadError, UsageError
from vesalius.models.class_head import ClassHead, compare
from vesalius.models.point_head import PointHead
from vesalius.models.segresnet import Decoder, Encoder
from vesalius.spec import VistaArchitecture


class Vista3D(nn.Module):
    """The network, in tensors only.

    Args:
        architecture: Widths, levels and branches.
    """

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

    def mapped_features(self, windows: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b d i j k"]:
        """Return the features class vectors are compared with.

        Args:
            windows: Images in 0..1; every side a multiple of ``architecture.size_multiple``.

        Raises:
            UsageError: If a side is not such a multiple.
            NoHeadError: If the model has no automatic branch.
        """
        self._check_branch(self.architecture.class_branch, "automatic")
        decoded = self.automatic_decoder(self._encode(windows), consume=True)
        return self.class_head.mapped_features(decoded, consume=True)

    def class_vectors(self, class_ids: Int[Tensor, " o"]) -> Float[Tensor, "o d"]:
        """Return the vectors of classes, in float32 after ``optimise_for_inference``; constant once trained."""
        self._check_branch(self.architecture.class_branch, "automatic")
        return self.class_head.class_vectors(class_ids)

    def class_logits(
        self, windows: Float[Tensor, "b c i j k"], class_ids: Int[Tensor, " o"]
    ) -> Float[Tensor, "b o i j k"]:
        """Return mask logits of classes; a voxel belongs to a class where its logit is above 0."""
        return compare(self.class_vectors(class_ids), self.mapped_features(windows))

    def point_features(self, windows: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b d i j k"]:
        """Return the features of the click branch; ``point_head.image_map`` makes of them what a session keeps.

        Raises:
            UsageError: If a side is no multiple of ``architecture.size_multiple``.
            NoHeadError: If the model has no click branch.
        """
        self._check_branch(self.architecture.point_branch, "click")
        decoded: Tensor = self.point_decoder(self._encode(windows), consume=True)
        return decoded

    def both_features(
        self, windows: Float[Tensor, "b c i j k"]
    ) -> tuple[Float[Tensor, "b d i j k"], Float[Tensor, "b d i j k"]]:
        """Return ``mapped_features`` and ``point_features`` from one pass of the encoder, nearly half of either."""
        self._check_branch(self.architecture.class_branch, "automatic")
        self._check_branch(self.architecture.point_branch, "click")
        skips = self._encode(windows)
        clicked: Tensor = self.point_decoder(skips)
        decoded = self.automatic_decoder(skips, consume=True)
        return self.class_head.mapped_features(decoded, consume=True), clicked

    def point_logits(
        self,
        windows: Float[Tensor, "1 c i j k"],
        points_ijk: Float[Tensor, "o n 3"],
        point_labels: Int[Tensor, "o n"],
        supported: Bool[Tensor, " o"],
    ) -> Float[Tensor, "1 o i j k"]:
        """Return mask logits of clicked objects; ``PointHead.logits`` says what the arguments mean."""
        features = self.point_features(windows)  # first, because it refuses an absent branch
        image_map = self.point_head.image_map(features)
        return self.point_head.logits(image_map, points_ijk, point_labels, supported)

    def _encode(self, windows: Tensor) -> list[Tensor]:
        multiple = self.architecture.size_multiple
        if any(side % multiple for side in windows.shape[2:]):
            raise UsageError(
                expected=f"windows whose sides are multiples of {multiple}",
                got=" x ".join(str(side) for side in windows.shape[2:]),
                do="pad the volume, or choose another window size",
            )
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

    def _check_branch(self, present: bool, name: str) -> None:
        if not present:
            raise NoHeadError(
                expected=f"a model with the {name} branch",
                got="weights without it",
                do="choose another model, or train that branch",
            )
