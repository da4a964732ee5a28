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


def test_the_grid_is_every_voxel_k_fastest() -> None:
    position, shape = FourierPosition(8), (2, 3, 4)
    grid = position.grid(shape)
    assert grid.shape == (24, 8)
    torch.testing.assert_close(grid[(1 * 3 + 2) * 4 + 3], position(torch.tensor([1.0, 2, 3]), shape))


def test_the_middle_of_a_window_is_all_sines_0_and_cosines_1() -> None:
    position = FourierPosition(8)
    middle = position(torch.tensor([3.5, 3.5, 3.5]), (8, 8, 8))
    torch.testing.assert_close(middle, torch.tensor([0.0] * 4 + [1.0] * 4))
    corner = position(torch.tensor([7.5, 3.5, 3.5]), (8, 8, 8))  # +1 along i
    torch.testing.assert_close(corner[:4], (2 * math.pi * position.frequencies[0]).sin(), rtol=0, atol=1e-5)
