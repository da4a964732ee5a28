"""What features are worth when nothing but a map of them learns: nearest neighbours, and a linear map.

Both answer with shares of classes, which sum to 1. A target may be a share as well: a patch of an image is partly
one structure and partly another. Nearest neighbours as DINO judges its features (Caron et al. 2021,
arXiv:2104.14294, section 4.1.1), but standardised first, so that features whose mean is large (those of a random
network) are not all alike. The linear map is multinomial logistic regression, found by L-BFGS from zero: the loss
is convex, so no rate, order or seed has a part in it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vesalius.errors import UsageError

Features = Float[Tensor, "t d"]
Shares = Float[Tensor, "t o"]

DECAYS = (1e-4, 1e-2, 1.0)
"""Penalties that ``fit_linear`` chooses from, where it is given something to choose by."""
_CHUNK = 4096
_TEMPERATURE = 0.07
"""DINO's, of cosines: how much more the nearest neighbours count."""
_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class Standard:
    """Brings features to mean 0 and deviation 1, channel by channel, as they were in what was learnt from."""

    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    @classmethod
    def of(cls, features: Features) -> Standard:
        """Take mean and deviation of features; a channel that never changes is left at 0."""
        deviation = features.std(dim=0, correction=0)
        constant = deviation <= 1e-6 * features.abs().amax(dim=0).clamp_min(1e-30)
        return cls(features.mean(dim=0), torch.where(constant, 0.0, 1 / deviation.clamp_min(1e-30)))

    def __call__(self, features: Features) -> Features:
        """Return features standardised."""
        return (features - self.mean) * self.scale


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """Answers with what its nearest neighbours are, in the angle between standardised features.

    ``share = sum_n softmax(cos_n / temperature) share_n`` over the nearest.
    """

    standard: Standard
    bank: Float[Tensor, "n d"]
    """Unit vectors."""
    shares: Float[Tensor, "n o"]
    neighbours: int

    def __call__(self, features: Features) -> Shares:
        """Return the shares of every class."""
        answers = []
        for first in range(0, len(features), _CHUNK):
            some = features[first : first + _CHUNK]
            cosines = functional.normalize(self.standard(some), dim=1) @ self.bank.T  # [t n]
            near, which = cosines.topk(min(self.neighbours, len(self.bank)), dim=1)
            weights = (near / _TEMPERATURE).softmax(dim=1)
            answers.append(torch.einsum("tn,tno->to", weights, self.shares[which]))
        return torch.cat(answers)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Answers with ``softmax(W x + b)`` of standardised features x."""

    standard: Standard
    weight: Float[Tensor, "d o"]
    bias: Float[Tensor, " o"]
    decay: float
    """The penalty it was found with."""

    def __call__(self, features: Features) -> Shares:
        """Return the shares of every class."""
        return (self.standard(features) @ self.weight + self.bias).softmax(dim=1)


def nearest_neighbours(features: Features, shares: Shares, *, neighbours: int = 20) -> NearestNeighbours:
    """Keep features and what they are of.

    Args:
        features: Of every patch or image that is known.
        shares: What each is, in shares of classes; rows sum to 1.
        neighbours: How many are asked.

    Raises:
        UsageError: If there is nothing to keep.
    """
    _check(features)
    standard = Standard.of(features)
    bank = functional.normalize(standard(features), dim=1)
    return NearestNeighbours(standard, bank, shares, neighbours)


def fit_linear(
    features: Features,
    shares: Shares,
    *,
    held_out: Bool[Tensor, " t"] | None = None,
    decays: Sequence[float] = DECAYS,
) -> LinearMap:
    """Find the linear map with the least ``mean(-sum_o share log p) + decay / 2 |W|²``.

    Args:
        features: Of every patch or image that is known.
        shares: What each is, in shares of classes; rows sum to 1.
        held_out: Those that choose the penalty: the one that predicts them best is taken, and the map is then found
            on all. None takes the first penalty.
        decays: Penalties to choose from.

    Raises:
        UsageError: If there is nothing to learn from.
    """
    _check(features)
    decay = decays[0]
    if held_out is not None and len(decays) > 1 and 0 < int(held_out.sum()) < len(features):
        learnt, judged = ~held_out, held_out

        def surprise(decay: float) -> float:
            answers = _fitted(features[learnt], shares[learnt], decay)(features[judged])
            return float(-(shares[judged] * answers.clamp_min(1e-12).log()).sum(dim=1).mean())

        decay = min(decays, key=surprise)
    return _fitted(features, shares, decay)


def dice_threshold(probabilities: Float[Tensor, " n"]) -> float:
    """Return the probability from which on pixels are to be taken, for the largest Dice that is to be expected.

    The expectation, of the ``m`` most probable pixels, is ``2 sum_m p / (m + sum p)``; its largest value is twice
    the threshold. So what is rare is found although nothing makes it more probable than the background, and where
    every pixel is as probable as any other, all are taken.
    """
    ordered = probabilities.double().sort(descending=True).values
    gained = ordered.cumsum(dim=0)
    counts = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    expected = 2 * gained / (counts + gained[-1])
    return float(ordered[int(expected.argmax())])


def _fitted(features: Features, shares: Shares, decay: float) -> LinearMap:
    standard = Standard.of(features)
    known = standard(features)
    weight = torch.zeros(known.shape[1], shares.shape[1], requires_grad=True)
    bias = torch.zeros(shares.shape[1], requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        with torch.enable_grad():
            logs = functional.log_softmax(known @ weight + bias, dim=1)
            value: Tensor = -(shares * logs).sum() / len(known) + decay / 2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    search.step(loss)  # type: ignore[no-untyped-call]
    return LinearMap(standard, weight.detach(), bias.detach(), decay)


def _check(features: Features) -> None:
    if not len(features):
        raise UsageError(
            expected="features of at least one patch or image, and what each of them is",
            got="none",
            do="give more labelled cases",
        )
