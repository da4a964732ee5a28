"""Attention between few and many: the short way gives what the plain way gives, gradients included."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vesalius.models.layers import Attention
from vesalius.models.layers.attention import Many


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    attention = Attention(12, inner_width=8, heads=2)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention.double()


@pytest.fixture
def few() -> Tensor:
    return torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def many() -> tuple[Many, Tensor]:
    """Some tokens with their positions, and the same tokens placed."""
    generator = torch.Generator().manual_seed(2)
    tokens, places = (torch.randn(*n, 12, generator=generator, dtype=torch.float64) for n in ((3, 50), (50,)))
    slabs = tokens.split(20, dim=1)  # the last has 10
    return Many(slabs, lambda vectors: iter((vectors @ places.T).split(20, dim=2))), tokens + places


def test_a_few_tokens_see_many_as_if_all_were_projected(
    attention: Attention, few: Tensor, many: tuple[Many, Tensor]
) -> None:
    tokens, placed = many
    torch.testing.assert_close(
        attention.of_many(few, tokens), attention(few, placed, torch.cat([*tokens.slabs], dim=1))
    )


def test_many_tokens_see_a_few_as_if_all_were_projected(
    attention: Attention, few: Tensor, many: tuple[Many, Tensor]
) -> None:
    tokens, placed = many
    values = few.flip(1)
    slabs, answers = zip(*attention.for_many(tokens, few, values), strict=True)
    torch.testing.assert_close(torch.cat(answers, dim=1), attention(placed, few, values))
    assert all(
        slab is not None and torch.equal(slab, given) for slab, given in zip(slabs, tokens.slabs, strict=True)
    )


def test_every_parameter_learns_the_same_way(attention: Attention, few: Tensor, many: tuple[Many, Tensor]) -> None:
    tokens, placed = many
    answers = torch.cat([answer for _, answer in attention.for_many(tokens, few, few)], dim=1)
    short = attention.of_many(few, tokens).square().sum() + answers.square().sum()
    plain = (
        attention(few, placed, torch.cat([*tokens.slabs], dim=1)).square().sum()
        + attention(placed, few, few).square().sum()
    )
    gradients = [
        torch.autograd.grad(loss, list(attention.parameters()), allow_unused=True) for loss in (short, plain)
    ]
    for name, mine, reference in zip(dict(attention.named_parameters()), *gradients, strict=True):
        assert mine is not None, name
        torch.testing.assert_close(mine, reference)
