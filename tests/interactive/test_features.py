"""The cache of tensors: within its bound, least recently used first out, and never another tensor."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import UsageError
from vesalius.interactive.features import TensorCache

SIZE = 8 * 4


def ask(cache: TensorCache, number: int, computed: list[int]) -> float:
    def compute() -> torch.Tensor:
        computed.append(number)
        return torch.full((8,), float(number))

    return float(cache.get(("window", number), compute).unique().item())


def test_a_tensor_is_computed_once_and_the_least_recently_used_leaves_first() -> None:
    cache, computed = TensorCache(2 * SIZE), []
    for number in (0, 1, 0, 2, 0, 1):
        assert ask(cache, number, computed) == number
    assert computed == [0, 1, 2, 1]
    assert (cache.hits, cache.misses) == (2, 4)
    assert cache.held_bytes == 2 * SIZE


def test_a_tensor_larger_than_the_cache_is_not_kept() -> None:
    cache, computed = TensorCache(SIZE - 1), []
    assert ask(cache, 3, computed) == ask(cache, 3, computed) == 3
    assert computed == [3, 3]
    assert cache.held_bytes == 0


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(UsageError, match="cache"):
        TensorCache(-1)
