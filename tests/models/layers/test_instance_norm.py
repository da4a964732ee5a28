"""Instance norm: torch's numbers in channels-last, and moments that hold for whole windows."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vesalius.models.layers import InstanceNorm
from vesalius.models.layers.instance_norm import measure


@pytest.mark.parametrize("affine", [True, False])
def test_it_is_torchs_instance_norm_and_keeps_the_layout(affine: bool) -> None:
    torch.manual_seed(0)
    features = (3 * torch.randn(2, 4, 6, 5, 8) + 7).contiguous(memory_format=torch.channels_last_3d)
    norm = InstanceNorm(4, affine=affine)
    if norm.weight is not None and norm.bias is not None:
        norm.weight.data, norm.bias.data = torch.randn(4), torch.randn(4)
    normalised = norm(features)
    torch.testing.assert_close(normalised, functional.instance_norm(features, weight=norm.weight, bias=norm.bias))
    assert normalised.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("affine", [True, False])
def test_a_voxel_alone_is_its_own_mean(affine: bool) -> None:
    norm = InstanceNorm(4, affine=affine)
    if norm.bias is not None:
        norm.bias.data = torch.randn(4)
    shift = torch.zeros(4) if norm.bias is None else norm.bias.detach()
    normalised = norm(torch.randn(2, 4, 1, 1, 1))
    assert torch.equal(normalised, shift[None, :, None, None, None].expand(2, 4, 1, 1, 1))
    assert torch.equal(norm.over(torch.randn(1, 4, 1, 1))(torch.zeros(0, 4, 1, 1)), torch.zeros(0, 4, 1, 1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-5)])
def test_moments_of_slabs_are_those_of_the_window(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    planes = (torch.randn(23, 4, 30, 30) + torch.linspace(-5, 20, 23)[:, None, None, None]).to(dtype)
    moments = measure(planes.contiguous(memory_format=torch.channels_last).split(5))  # the last has 3
    exact = planes.double()
    torch.testing.assert_close(moments.mean.double(), exact.mean((0, 2, 3)), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        moments.variance.double(), exact.var((0, 2, 3), correction=0), rtol=tolerance, atol=tolerance
    )
    assert moments.mean.dtype == torch.float32
