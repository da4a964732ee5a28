"""Plane by plane or in one piece: the same numbers, for any number of planes, in place or not."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vesalius.models.layers import convolution, planes, winograd

SIZES = st.tuples(st.integers(1, 13), st.integers(1, 9), st.integers(1, 9))


def window(channels: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(sum(shape)))
    return drawn.to(dtype).contiguous(memory_format=torch.channels_last_3d)


def kernel(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])) / (27 * shape[1]) ** 0.5


@settings(max_examples=40, deadline=None)
@given(shape=SIZES, slab=st.sampled_from([1, 500, 4000, 1 << 20]), block=st.sampled_from([100, 3000, 1 << 20]))
def test_convolving_planes_is_convolving_the_window(shape: tuple[int, int, int], slab: int, block: int) -> None:
    source, weight = window(3, shape), kernel(5, 3, 3, 3, 3)
    expected = functional.conv3d(functional.relu(source + 0.2), weight, padding=1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        patch.setattr(winograd, "BLOCK_BYTES", block)
        out = torch.empty_like(expected, memory_format=torch.channels_last_3d)
        (view,), (target,) = planes.windows_of(source), planes.windows_of(out)
        convolve = partial(
            convolution.convolve_planes, view, weight, entry=lambda some: functional.relu(some + 0.2)
        )
        convolve(out=target)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)
        convolve(out=target, plus=target)
        torch.testing.assert_close(out, 2 * expected, rtol=0, atol=2e-4)
        convolve(out=target, plus=torch.ones_like(target))
        torch.testing.assert_close(out, expected + 1, rtol=0, atol=2e-4)


@settings(max_examples=20, deadline=None)
@given(shape=SIZES, slab=st.sampled_from([1, 4000]))
def test_a_window_may_be_convolved_into_itself(shape: tuple[int, int, int], slab: int) -> None:
    source, weight = window(4, shape), kernel(4, 4, 3, 3, 3)
    expected = functional.conv3d(source, weight, padding=1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        (view,) = planes.windows_of(source)
        convolution.convolve_planes(view, weight, view)
    torch.testing.assert_close(source, expected, rtol=0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(shape=SIZES, slab=st.sampled_from([1, 4000]), bias=st.booleans())
def test_upsampling_planes_is_the_transposed_convolution(
    shape: tuple[int, int, int], slab: int, bias: bool
) -> None:
    source, weight = window(6, shape), kernel(6, 3, 3, 3, 3)
    shift = torch.randn(3) if bias else None
    expected = functional.conv_transpose3d(source, weight, shift, stride=2, padding=1, output_padding=1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        out = torch.ones_like(expected, memory_format=torch.channels_last_3d)
        (view,), (target,) = planes.windows_of(source), planes.windows_of(out)
        convolution.upsample_planes(view, weight, target, bias=shift, add=True)
    torch.testing.assert_close(out, 1 + expected, rtol=0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(shape=SIZES, slab=st.sampled_from([1, 4000]), bias=st.booleans())
def test_downsampling_planes_is_the_strided_convolution(shape: tuple[int, int, int], slab: int, bias: bool) -> None:
    i, j, k = shape
    source, weight = window(3, (2 * i, 2 * j, 2 * k)), kernel(6, 3, 3, 3, 3)
    shift = torch.randn(6) if bias else None
    expected = functional.conv3d(source, weight, shift, stride=2, padding=1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        out = torch.empty_like(expected, memory_format=torch.channels_last_3d)
        (view,), (target,) = planes.windows_of(source), planes.windows_of(out)
        convolution.downsample_planes(view, weight, target, bias=shift)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(shape=SIZES, slab=st.sampled_from([1, 4000]))
def test_a_convolution_to_one_channel(shape: tuple[int, int, int], slab: int) -> None:
    source, weight = window(5, shape), kernel(1, 5, 3, 3, 3)
    expected = functional.conv3d(functional.relu(source + 0.2), weight, padding=1)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        (view,) = planes.windows_of(source)
        parts = (functional.relu(some + 0.2) for (some,) in planes.slabs(view))
        result = convolution.convolve_to_one_channel(parts, weight, shape)
    torch.testing.assert_close(result[None, None], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_first_convolution(channels: int) -> None:
    source, weight = window(channels, (7, 5, 6)), kernel(4, channels, 3, 3, 3)
    expected = functional.conv3d(source, weight, padding=1)
    out = torch.empty_like(expected, memory_format=torch.channels_last_3d)
    (view,), (target,) = planes.windows_of(source), planes.windows_of(out)
    with torch.no_grad():
        convolution.convolve_few_channels(view, weight, target)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def test_bf16_noise_of_winograd_is_a_few_times_that_of_the_direct_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    source, weight = window(16, (16, 16, 16), torch.bfloat16), kernel(16, 16, 3, 3, 3).bfloat16()
    exact = functional.conv3d(source.double(), weight.double(), padding=1)
    noise = {}
    for name in ("winograd", "direct"):
        monkeypatch.setattr(convolution, "winograd_pays", lambda _, chosen=name: chosen == "winograd")
        out = torch.empty_like(source)
        with torch.no_grad():
            convolution.convolve_planes(planes.windows_of(source)[0], weight, planes.windows_of(out)[0])
        noise[name] = ((out.double() - exact).std() / exact.std()).item()
    assert 1e-4 < noise["direct"] < 3e-3
    assert noise["direct"] < noise["winograd"] < 8e-3


def test_a_kernel_is_kept_until_its_weight_changes() -> None:
    weight = torch.nn.Parameter(kernel(5, 3, 3, 3, 3), requires_grad=False)
    kept = winograd.winograd_kernel(weight)
    assert winograd.winograd_kernel(weight) is kept
    with torch.no_grad():
        weight.mul_(2)
    changed = winograd.winograd_kernel(weight)
    assert changed is not kept
    weight.data = kernel(5, 3, 3, 3, 3)
    assert torch.equal(winograd.winograd_kernel(weight).kernels[0], kept.kernels[0])
    assert winograd.winograd_kernel(weight.requires_grad_()) is not winograd.winograd_kernel(weight)


def test_a_workspace_lends_its_memory_again_and_keeps_what_is_lent_apart() -> None:
    with planes.workspace():
        with planes.borrowed((4, 4), torch.float32) as first:
            with planes.borrowed((4, 4), torch.float32) as second:
                assert second.data_ptr() != first.data_ptr()
            address = first.data_ptr()
        with planes.borrowed((2, 4), torch.bfloat16) as third:
            assert third.data_ptr() in (address, second.data_ptr())
    with planes.borrowed((4, 4), torch.float32) as fourth, planes.borrowed((4, 4), torch.float32) as fifth:
        assert fourth.data_ptr() != fifth.data_ptr()


def test_direct_sums_are_those_of_the_plain_convolution_also_in_other_threads() -> None:
    source, weight = window(4, (8, 8, 8)), kernel(4, 4, 3, 3, 3)

    def convolved() -> Tensor:
        out = torch.empty_like(source)
        with torch.no_grad():
            convolution.convolve_planes(planes.windows_of(source)[0], weight, planes.windows_of(out)[0])
        return out

    mixed = convolved()
    with winograd.direct_sums(), ThreadPoolExecutor(1) as pool:
        direct = pool.submit(copy_context().run, convolved).result()
    assert not torch.equal(mixed, direct)
    assert torch.equal(mixed, convolved())
    torch.testing.assert_close(direct, functional.conv3d(source, weight, padding=1), rtol=0, atol=1e-6)
