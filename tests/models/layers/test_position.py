"""Fourier positions: the same place is the same vector at any resolution."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import torch

from vesalius.models.layers import FourierPosition


def test_a_place_has_one_vector_at_any_resolution() -> None:
    position = FourierPosition(8)
    coarse = position(torch.tensor([[1.0, 2, 3]]), (4, 8, 16))
    fine = position(torch.tensor([[2.5, 4.5, 6.5]]), (8, 16, 32))
    torch.testing.assert_close(coarse, fine)


def test_comparing_with_a_grid_is_the_dot_product_with_every_voxel_k_fastest() -> None:
    position, shape = FourierPosition(8), (2, 3, 4)
    vectors = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0))
    axes = [torch.arange(side, dtype=torch.float32) for side in shape]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    expected = vectors @ position(voxels, shape).T
    for planes in (1, 2):
        slabs = list(position.compare(vectors, shape, planes=planes))
        assert len(slabs) == 2 // planes
        torch.testing.assert_close(torch.cat(slabs, dim=-1), expected)


def test_the_middle_of_a_window_is_all_sines_0_and_cosines_1() -> None:
    position = FourierPosition(8)
    middle = position(torch.tensor([3.5, 3.5, 3.5]), (8, 8, 8))
    torch.testing.assert_close(middle, torch.tensor([0.0] * 4 + [1.0] * 4))
    corner = position(torch.tensor([7.5, 3.5, 3.5]), (8, 8, 8))  # +1 along i
    torch.testing.assert_close(corner[:4], (2 * math.pi * position.frequencies[0]).sin(), rtol=0, atol=1e-5)
