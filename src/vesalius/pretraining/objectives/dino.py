"""DINO: every view of a slice should name the prototypes that the teacher names for its global views.

Caron et al. 2021, arXiv:2104.14294, Eq. 3, with the weights and the Sinkhorn-Knopp targets of DINOv3
(arXiv:2508.10104; official file ``ssl_meta_arch.py``).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.pretraining.settings import Dino


class DinoLoss(nn.Module):
    """Mean cross-entropy of the pairs of a view and another, global one: at least 0."""

    def __init__(self, settings: Dino) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self,
        of_global: Float[Tensor, "v b q"],
        of_local: Float[Tensor, "l b q"],
        targets: Float[Tensor, "v b q"],
    ) -> Float[Tensor, ""]:
        """Compare what the student says of class tokens with what the teacher says of the global views'.

        With ``CE(i, j)`` the mean over slices of ``-sum_q targets[j] log softmax(student[i] / temperature)``::

            (sum over global i != j of CE + local_weight * sum over local i and global j of CE) / number of pairs

        Args:
            of_global: The student's logits of global views; at least two.
            of_local: Its logits of local views; may be none.
            targets: The teacher's probabilities of the global views.
        """
        views, batch = targets.shape[:2]
        pairs = views * (views - 1) + len(of_local) * views
        targets = targets.float()
        own = _cross_entropies(of_global, targets, self.settings.temperature)
        total = own.sum() - own.diagonal().sum()
        if len(of_local):
            others = _cross_entropies(of_local, targets, self.settings.temperature)
            total = total + self.settings.local_weight * others.sum()
        return total / (pairs * batch)


def _cross_entropies(
    logits: Float[Tensor, "s b q"], targets: Float[Tensor, "v b q"], temperature: float
) -> Float[Tensor, "s v"]:
    """Return the cross-entropy of every pair of views, summed over slices."""
    with torch.autocast(logits.device.type, enabled=False):  # a sum over prototypes in bf16 would be worth little
        logs = (logits.float() / temperature).log_softmax(dim=-1)
        return -einsum(logs, targets, "s b q, v b q -> s v")
