"""A vision transformer with VISTA3D's heads: slices through the encoder, class prompts and clicks over the volume.

The encoder (MedDINOv3's, Li et al. 2025, arXiv:2509.02379, or any DINOv3 ViT) sees each slice, adapters along
slices see their neighbours. A decoder each brings the features of some depths to full resolution and the width of
the heads, which are VISTA3D's own (He et al. 2025, arXiv:2406.05285) and look at the volume: what runs and trains
that network runs and trains this one.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vesalius.errors import NoHeadError, UsageError
from vesalius.models.adapters import adapt
from vesalius.models.class_head import ClassHead, compare
from vesalius.models.decoders import FusedDecoder
from vesalius.models.point_head import PointHead
from vesalius.models.vit import SliceWise, Vit
from vesalius.spec import PromptedVitArchitecture


class PromptedVit(nn.Module):
    """The network, in tensors only.

    Args:
        architecture: Encoder, its adapters, taps, width and branches.
    """

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

    def mapped_features(self, windows: Float[Tensor, "b 1 i j k"]) -> Float[Tensor, "b d i j k"]:
        """Return the features class vectors are compared with.

        Args:
            windows: Images in 0..1, slices along k; every side a multiple of ``architecture.size_multiple``.

        Raises:
            UsageError: If a side is not such a multiple.
            NoHeadError: If the model has no automatic branch.
        """
        self._check_branch(self.architecture.class_branch, "automatic")
        return self.class_head.mapped_features(self.automatic_decoder(self._encode(windows)), consume=True)

    def class_vectors(self, class_ids: Int[Tensor, " o"]) -> Float[Tensor, "o d"]:
        """Return the vectors of classes, in float32 after ``optimise_for_inference``; constant once trained."""
        self._check_branch(self.architecture.class_branch, "automatic")
        return self.class_head.class_vectors(class_ids)

    def class_logits(
        self, windows: Float[Tensor, "b 1 i j k"], class_ids: Int[Tensor, " o"]
    ) -> Float[Tensor, "b o i j k"]:
        """Return mask logits of classes; a voxel belongs to a class where its logit is above 0."""
        return compare(self.class_vectors(class_ids), self.mapped_features(windows))

    def point_features(self, windows: Float[Tensor, "b 1 i j k"]) -> Float[Tensor, "b d i j k"]:
        """Return the features of the click branch; ``point_head.image_map`` makes of them what a session keeps.

        Raises:
            UsageError: If a side is no multiple of ``architecture.size_multiple``.
            NoHeadError: If the model has no click branch.
        """
        self._check_branch(self.architecture.point_branch, "click")
        decoded: Tensor = self.point_decoder(self._encode(windows))
        return decoded

    def both_features(
        self, windows: Float[Tensor, "b 1 i j k"]
    ) -> tuple[Float[Tensor, "b d i j k"], Float[Tensor, "b d i j k"]]:
        """Return ``mapped_features`` and ``point_features`` from one pass of the encoder."""
        self._check_branch(self.architecture.class_branch, "automatic")
        self._check_branch(self.architecture.point_branch, "click")
        found = self._encode(windows)
        mapped = self.class_head.mapped_features(self.automatic_decoder(found), consume=True)
        return mapped, self.point_decoder(found)

    def point_logits(
        self,
        windows: Float[Tensor, "1 1 i j k"],
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
        mean, deviation = self.architecture.mean_std
        found: list[Tensor] = self.encoder((windows.float() - mean) / deviation, self.architecture.taps)
        return found

    def _check_branch(self, present: bool, name: str) -> None:
        if not present:
            raise NoHeadError(
                expected=f"a model with the {name} branch",
                got="weights without it",
                do="choose another model, or train that branch",
            )


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

    def forward(self, features: list[Tensor]) -> Float[Tensor, "b d i j k"]:
        """Decode features ``[b w x y k]`` of some depths; channels lie last in memory, as the heads want them."""
        count = features[0].shape[4]
        slices = [rearrange(found, "b w x y k -> (b k) w x y") for found in features]
        decoded = rearrange(self.decoder(slices), "(b k) d i j -> b d i j k", k=count)
        laid_out: Tensor = decoded.contiguous(memory_format=torch.channels_last_3d)
        return laid_out
