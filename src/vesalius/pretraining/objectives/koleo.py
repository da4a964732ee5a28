"""KoLeo: class tokens keep their distance, so that they fill the sphere and do not fall together.

Kozachenko-Leonenko entropy as in Sablayrolles et al. 2019, arXiv:1806.03198, and DINOv2 (arXiv:2304.07193, Sec. 4);
official file ``koleo_loss.py``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.pretraining.settings import Koleo

_EPS = 1e-8


class KoleoLoss(nn.Module):
    """Mean of ``-log`` of the distance to the nearest neighbour; less is more spread, at least ``-log 2``."""

    def __init__(self, settings: Koleo) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, tokens: Float[Tensor, "v b d"]) -> Float[Tensor, ""]:
        """Compare the class tokens of each view among themselves; a mean over views, groups and slices.

        With ``x`` the tokens brought to length 1 and ``y`` the one of the others with the largest ``x . y``:
        ``-log(|x - y + 1e-8| + 1e-8)``.

        Args:
            tokens: The student's, before the head; of at least two slices.
        """
        batch = tokens.shape[1]
        size = self.settings.group or batch
        with torch.autocast(tokens.device.type, enabled=False):
            x = functional.normalize(tokens.float(), eps=_EPS, dim=-1)
            groups = [
                _nearest_logs(view[first : first + size])
                for view in x
                for first in range(0, batch - size + 1, size)
            ]
        return -torch.stack(groups).mean()


def _nearest_logs(x: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the mean logarithm of the distance to the nearest other."""
    with torch.no_grad():
        likeness = x @ x.T
        likeness.fill_diagonal_(-2.0)  # less than any cosine
        nearest = likeness.argmax(dim=1)
    distances = (x - x[nearest] + _EPS).norm(dim=1)
    mean: Tensor = (distances + _EPS).log().mean()
    return mean
