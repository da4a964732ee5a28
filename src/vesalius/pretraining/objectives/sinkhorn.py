"""Sinkhorn-Knopp: what a teacher says of a batch, with every prototype named equally often.

Cuturi 2013, arXiv:1306.0895; as SwAV (arXiv:2006.09882, Sec. 3.1) and DINOv3 (arXiv:2508.10104) use it instead of a
moving centre. Deliberate differences from the official code: sums are taken of logarithms, so that sharp logits
neither overflow nor leave a prototype with 0 / 0; a batch is that of one process, and no process waits for another.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 3


@torch.no_grad()
def sinkhorn_knopp(
    logits: Float[Tensor, "n q"], *, temperature: float, iterations: int = ITERATIONS
) -> Float[Tensor, "n q"]:
    """Return targets: of each token, the probabilities of all prototypes.

    ``Q = exp(logits / temperature)``; then, as often as asked, every column is divided by its sum and the number
    of prototypes, and every row by its sum and the number of tokens. What comes out is Q times that number.

    Args:
        logits: What the teacher says of each token; in any precision.
        temperature: Positive; less is sharper.
        iterations: At least 1.

    Returns:
        In float32; every row sums to 1, every column to about ``n / q``. Nothing is learnt through it.
    """
    logs = logits.float() / temperature
    count, prototypes = logs.shape
    logs = logs - logs.flatten().logsumexp(0)
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0, keepdim=True) - math.log(prototypes)
        logs = logs - logs.logsumexp(1, keepdim=True) - math.log(count)
    return (logs + math.log(count)).exp()
