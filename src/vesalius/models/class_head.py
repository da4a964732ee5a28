"""Class head: segments the classes it is asked for.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), automatic branch. Agrees with MONAI's
``ClassMappingClassify``; the prompted objects have an axis of their own here, ``o``, where the official code reuses
the batch axis, and features and class vectors are offered apart, so that windows can be blended before any class is
asked for.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers import PostActivationBlock


class ClassHead(nn.Module):
    """Compares each prompted class with every voxel.

    The cost grows with the number of classes asked for, not with the size of the vocabulary.

    Args:
        num_embeddings: Rows of the embedding table; a class id is a row.
        width: Channels ``d`` of the image features.
    """

    def __init__(self, num_embeddings: int, width: int) -> None:
        super().__init__()
        self.class_embedding = nn.Embedding(num_embeddings, width)
        self.mlp_in = nn.Linear(width, width)
        self.mlp_out = nn.Linear(width, width)
        self.feature_blocks = nn.ModuleList([PostActivationBlock(width), PostActivationBlock(width)])

    def class_vectors(self, class_ids: Int[Tensor, " o"]) -> Float[Tensor, "o d"]:
        """Map class ids to the vectors that are compared with every voxel; constant once trained."""
        hidden = self.mlp_in(self.class_embedding(class_ids))  # [o d]
        hidden = functional.gelu(functional.layer_norm(hidden, hidden.shape[-1:], eps=1e-5))
        vectors: Tensor = self.mlp_out(hidden)
        return vectors

    def mapped_features(
        self, features: Float[Tensor, "b d i j k"], *, consume: bool = False
    ) -> Float[Tensor, "b d i j k"]:
        """Refine the decoder's features into those the class vectors are compared with.

        Args:
            features: What the automatic decoder returned.
            consume: Whether the result may take the memory of ``features``.
        """
        for number, block in enumerate(self.feature_blocks):
            features = block(features, consume=consume or number > 0)
        return features


def compare(vectors: Float[Tensor, "o d"], features: Float[Tensor, "b d i j k"]) -> Float[Tensor, "b o i j k"]:
    """Return mask logits: the dot product of every vector with every voxel; above 0 the voxel belongs."""
    return functional.conv3d(features, vectors.to(features.dtype)[:, :, None, None, None])
