"""iBOT: behind the mask, the student should name the prototypes that the teacher sees there.

Zhou et al. 2022, arXiv:2111.07832, Eq. 2, with a head of its own and Sinkhorn-Knopp targets as in DINOv2
(arXiv:2304.07193) and DINOv3; official file ``ibot_patch_loss.py``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vesalius.pretraining.settings import Ibot


class IbotLoss(nn.Module):
    """Cross-entropy of hidden patches, each image counting alike: at least 0."""

    def __init__(self, settings: Ibot) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self,
        hidden: Float[Tensor, "n q"],
        targets: Float[Tensor, "n q"],
        is_masked: Bool[Tensor, "b t"],
    ) -> Float[Tensor, ""]:
        """Compare what the student says of hidden patches with what the teacher, who sees them, says.

        ``sum over images of the mean over its hidden patches of -sum_q targets log softmax(hidden / temperature)``,
        divided by the number of all images; those without a mask add nothing.

        Args:
            hidden: The student's logits of the masked patches, in the order of ``is_masked``.
            targets: The teacher's probabilities of the same.
            is_masked: Which patches of each image are hidden.
        """
        counts = is_masked.sum(dim=1, keepdim=True).clamp_min(1)
        weights = (1 / counts).expand_as(is_masked)[is_masked]
        with torch.autocast(hidden.device.type, enabled=False):
            logs = (hidden.float() / self.settings.temperature).log_softmax(dim=-1)
            return -((targets.float() * logs).sum(dim=-1) * weights).sum() / len(is_masked)
