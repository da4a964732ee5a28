"""Promptable: what networks of volumes that take class prompts and clicks have in common, whatever their encoder.

Heads and questions are VISTA3D's (He et al., CVPR 2025, arXiv:2406.05285). Class and click results are combined
above this room, where windows and volumes are known.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vesalius.errors import NoHeadError, UsageError
from vesalius.models.class_head import ClassHead, compare
from vesalius.models.point_head import PointHead
from vesalius.spec import PromptArchitecture


class Promptable(nn.Module, ABC):
    """An encoder, and a decoder and a head each for class prompts and for clicks; in tensors only.

    A subclass makes the encoder and its decoders, and says by ``_encode`` what the latter read. It inherits, and is
    not composed, so that its tensors keep the names that published weights have.
    """

    architecture: PromptArchitecture
    encoder: nn.Module
    automatic_decoder: nn.Module
    class_head: ClassHead
    point_decoder: nn.Module
    point_head: PointHead

    def mapped_features(self, windows: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b d i j k"]:
        """Return the features class vectors are compared with.

        Args:
            windows: Images in 0..1; every side a multiple of ``architecture.size_multiple``.

        Raises:
            UsageError: If a side is not such a multiple.
            NoHeadError: If the model has no automatic branch.
        """
        require_branch(self.architecture.class_branch, "automatic")
        decoded = self.automatic_decoder(self._encoded(windows), consume=True)
        return self.class_head.mapped_features(decoded, consume=True)

    def class_vectors(self, class_ids: Int[Tensor, " o"]) -> Float[Tensor, "o d"]:
        """Return the vectors of classes, in float32 after ``optimise_for_inference``; constant once trained."""
        require_branch(self.architecture.class_branch, "automatic")
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
        require_branch(self.architecture.point_branch, "click")
        decoded: Tensor = self.point_decoder(self._encoded(windows), consume=True)
        return decoded

    def both_features(
        self, windows: Float[Tensor, "b c i j k"]
    ) -> tuple[Float[Tensor, "b d i j k"], Float[Tensor, "b d i j k"]]:
        """Return ``mapped_features`` and ``point_features`` from one pass of the encoder, nearly half of either."""
        require_branch(self.architecture.class_branch, "automatic")
        require_branch(self.architecture.point_branch, "click")
        found = self._encoded(windows)
        clicked: Tensor = self.point_decoder(found)
        decoded = self.automatic_decoder(found, consume=True)
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

    @abstractmethod
    def _encode(self, windows: Float[Tensor, "b c i j k"]) -> list[Tensor]:
        """Return what a decoder reads of windows whose sides fit."""

    def _encoded(self, windows: Tensor) -> list[Tensor]:
        multiple = self.architecture.size_multiple
        if any(side % multiple for side in windows.shape[2:]):
            raise UsageError(
                expected=f"windows whose sides are multiples of {multiple}",
                got=" x ".join(str(side) for side in windows.shape[2:]),
                do="pad the volume, or choose another window size",
            )
        return self._encode(windows)


def require_branch(present: bool, name: str) -> None:
    """Refuse a question that a network has no branch for.

    Args:
        present: Whether it has it.
        name: Of the branch, such as ``click``.

    Raises:
        NoHeadError: If it has not.
    """
    if not present:
        raise NoHeadError(
            expected=f"a model with the {name} branch",
            got="weights without it",
            do="choose another model, or train that branch",
        )
