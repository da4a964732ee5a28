"""The cache of image maps: within its bound, least recently used first out, and never another map."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import UsageError
from vesalius.interactive.features import ImageMapCache

SIZE = 8 * 8 * 4


def cache(max_bytes: int) -> tuple[ImageMapCache, list[tuple[int, int, int]]]:
    computed: list[tuple[int, int, int]] = []

    def compute(start: tuple[int, int, int]) -> torch.Tensor:
        computed.append(start)
        return torch.full((1, 8, 2, 2, 2), float(start[0]))

    return ImageMapCache(compute, max_bytes=max_bytes), computed


def test_a_map_is_computed_once_and_the_least_recently_used_leaves_first() -> None:
    maps, computed = cache(2 * SIZE)
    for first in (0, 1, 0, 2, 0, 1):
        assert maps((first, 0, 0)).unique().item() == first
    assert [start[0] for start in computed] == [0, 1, 2, 1]
    assert (maps.hits, maps.misses) == (2, 4)
    assert maps.held_bytes == 2 * SIZE


def test_a_map_larger_than_the_cache_is_not_kept() -> None:
    maps, computed = cache(SIZE - 1)
    assert torch.equal(maps((3, 0, 0)), maps((3, 0, 0)))
    assert len(computed) == 2
    assert maps.held_bytes == 0


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(UsageError, match="cache"):
        cache(-1)
