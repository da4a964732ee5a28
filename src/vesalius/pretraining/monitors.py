"""Monitors: whether features still tell things apart; numbers that fall long before a loss says anything."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def effective_rank(features: Float[Tensor, "n d"]) -> float:
    """Return in how many directions features vary, in [1, min(n, d)].

    RankMe (Garrido et al. 2023, arXiv:2210.02885, Eq. 1): ``exp(-sum p log p)`` with ``p`` the singular values over
    their sum; here after the mean was taken away, which says nothing about what is told apart. Features that are
    all alike have 1. Where a feature is not finite there is no rank, but nan: the loop skips such a step.
    """
    if not bool(torch.isfinite(features).all()):
        return math.nan
    centred = features.float() - features.float().mean(dim=0)
    values = torch.linalg.svdvals(centred.cpu())
    if float(values.sum()) <= 1e-6 * float(features.float().norm()) + 1e-12:
        return 1.0
    return float(entropy(values / values.sum()).exp())


@torch.no_grad()
def entropy(probabilities: Float[Tensor, "*n q"]) -> Float[Tensor, "*n"]:
    """Return ``-sum p log p``, in [0, log q]."""
    known = probabilities.float()
    return -torch.xlogy(known, known).sum(dim=-1)  # 0 at 0; ``special.entr`` MPS has from torch 2.7 on alone


@torch.no_grad()
def found_again(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> float:
    """Return the part of slices whose other view is nearer than that of any other slice; by chance ``1 / n``.

    Args:
        first: Features of one view of each slice; compared by their cosine, the mean taken away.
        second: Features of another view of each, in the same order.
    """
    mean = torch.cat([first, second]).float().mean(dim=0)
    one, other = (functional.normalize(features.float() - mean, dim=1) for features in (first, second))
    nearest = (one @ other.T).argmax(dim=1)
    return float((nearest == torch.arange(len(one), device=one.device)).float().mean())
