"""Sinkhorn-Knopp: what a teacher says of a step's tokens, with every prototype named equally often.

Cuturi 2013, arXiv:1306.0895; as SwAV (arXiv:2006.09882, Sec. 3.1) and DINOv3 (arXiv:2508.10104) use it instead of a
moving centre. ``Q = exp(logits / temperature)`` has a row for each of n tokens and a column for each of q
prototypes; as often as asked, every column is divided by its sum and q, and every row by its sum and n. Targets are
``n Q``: every row sums to 1, every column to about ``n / q``.

As in the official code, all tokens of a step are balanced together, those of other processes too. It reduces sums
over them; here each sample gives one number for each prototype, and these are joined in the order of the samples,
so that targets are the same bits however a step is shared. All that tokens have in common is one weight for each
prototype: logits need not be kept, and may be made again in each iteration. Deliberate difference: sums are taken
of logarithms, so that sharp logits neither overflow nor leave a prototype with 0 / 0.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.engine.company import Company

ITERATIONS = 3


@torch.no_grad()
def prototype_balance(
    samples: Sequence[Callable[[], Float[Tensor, "_ q"]]],
    *,
    temperature: float,
    iterations: int = ITERATIONS,
    company: Company | None = None,
) -> Float[Tensor, " q"]:
    """Return the logarithm of what every prototype is to be multiplied by, for the tokens of all samples together.

    After the last division of columns each has a factor that all tokens share; the division of rows that follows is
    a softmax of each token (``balanced``).

    Args:
        samples: Of this process; each gives the logits of its tokens, perhaps of none, whenever it is asked.
        temperature: Positive.
        iterations: At least 1.
        company: Who else has samples; None: nobody.
    """
    company = company or Company()
    balance: Tensor | None = None
    for _ in range(iterations):
        own = company.each(partial(_column_sums, balance=balance, temperature=temperature), samples)
        sums = torch.stack(company.everyone([one.cpu() for one in own])).logsumexp(0)
        balance = -sums.to(own[0].device)
    assert balance is not None
    return balance


@torch.no_grad()
def balanced(
    logits: Float[Tensor, "n q"], balance: Float[Tensor, " q"], *, temperature: float
) -> Float[Tensor, "n q"]:
    """Return the targets of some tokens, in float32; every row sums to 1.

    Args:
        logits: What the teacher says of each.
        balance: Of all tokens that are balanced with them (``prototype_balance``).
        temperature: As there.
    """
    logs = logits.float() / temperature + balance
    return (logs - logs.logsumexp(1, keepdim=True)).exp()  # of 65,536 numbers closer to a sum of 1 than softmax


def _column_sums(
    sample: Callable[[], Float[Tensor, "_ q"]], *, balance: Float[Tensor, " q"] | None, temperature: float
) -> Float[Tensor, " q"]:
    """Return the logarithms of the sums of columns, after rows were divided by theirs; at first they are not."""
    logs = sample().float() / temperature
    if balance is not None:
        logs = logs - (logs + balance).logsumexp(1, keepdim=True)
    return logs.logsumexp(0)
