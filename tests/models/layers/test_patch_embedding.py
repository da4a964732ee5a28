"""Patches: one channel stands for all, and stems change their channels without changing their answers."""

from __future__ import annotations

import pytest
import torch

from vesalius.models.layers.patch_embedding import PatchEmbedding, fold_channels


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sides", [(16, 24), (17, 23), (3, 8)])
def test_any_size_is_filled_up_to_whole_patches(sides: tuple[int, int]) -> None:
    stem = PatchEmbedding(3, 12, patch_size=8)
    height, width = sides
    tokens = stem(image(2, 3, height, width))
    assert tokens.shape == (2, 12, -(-height // 8), -(-width // 8))


def test_the_edge_fills_up_and_the_rest_stays() -> None:
    stem = PatchEmbedding(1, 12, patch_size=8)
    small = image(1, 1, 12, 8)
    filled = torch.cat([small, small[:, :, -1:].expand(-1, -1, 4, -1)], dim=2)
    assert torch.equal(stem(small), stem(filled))
    assert torch.equal(stem(small)[:, :, 0], stem(small[:, :, :8])[:, :, 0])


def test_one_channel_stands_for_all_channels_of_the_stem() -> None:
    stem = PatchEmbedding(3, 12, patch_size=8)
    grey = image(2, 1, 16, 16)
    torch.testing.assert_close(stem(grey), stem(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_folded_stem_answers_alike_where_channels_are_alike(channels: int) -> None:
    stem, grey = PatchEmbedding(3, 12, patch_size=8), image(1, 1, 16, 16)
    folded = fold_channels(stem.projection.weight, channels)
    assert folded.shape == (12, channels, 8, 8)
    other = PatchEmbedding(channels, 12, patch_size=8)
    other.projection.weight.data, other.projection.bias = folded.detach(), stem.projection.bias
    wanted = stem(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(other(grey.expand(-1, channels, -1, -1)), wanted, atol=1e-5, rtol=1e-5)


def test_a_stem_of_the_same_channels_stays_as_it_is() -> None:
    weight = PatchEmbedding(3, 12, patch_size=8).projection.weight
    assert fold_channels(weight, 3) is weight


def test_the_stem_learns_from_one_channel() -> None:
    stem = PatchEmbedding(3, 12, patch_size=8)
    stem(image(1, 1, 16, 16)).square().sum().backward()
    assert stem.projection.weight.grad is not None
    assert (stem.projection.weight.grad.abs().amax(dim=(0, 2, 3)) > 0).all()
