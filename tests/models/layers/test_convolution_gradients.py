"""Gradients of convolutions plane by plane: those of plain differentiation, for any size, in place or not."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vesalius.models.layers import convolution_gradients, planes, winograd
from vesalius.models.layers.convolution_gradients import differentiate_planes
from vesalius.precision import best_precision

SIZES = st.tuples(st.integers(1, 13), st.integers(1, 9), st.integers(1, 9))


def window(channels: int, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    drawn = torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last_3d)


def kernel(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])) / (27 * shape[1]) ** 0.5


def plain(source: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients to input and kernel in float64."""
    source, weight = source.double().requires_grad_(), weight.double().requires_grad_()
    found = torch.autograd.grad(functional.conv3d(source, weight, padding=1), [source, weight], gradient.double())
    return found[0].float(), found[1].float()


@settings(max_examples=40, deadline=None)
@given(
    shape=SIZES,
    slab=st.sampled_from([1, 500, 4000, 1 << 20]),
    block=st.sampled_from([100, 3000, 1 << 20]),
    in_place=st.booleans(),
)
def test_gradients_are_those_of_plain_differentiation(
    shape: tuple[int, int, int], slab: int, block: int, in_place: bool
) -> None:
    channels = 5 if in_place else 3
    source, weight, gradient = window(channels, shape), kernel(5, channels, 3, 3, 3), window(5, shape, seed=1)
    scale = torch.linspace(0.5, -2, 5)
    to_source, to_kernel = plain(source, weight, gradient * scale[:, None, None, None])
    out = gradient.clone() if in_place else torch.ones_like(source)
    (x,), (target,) = planes.windows_of(source), planes.windows_of(out)
    g = target if in_place else planes.windows_of(gradient)[0]
    seen: list[tuple[slice, Tensor]] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(planes, "SLAB_BYTES", slab)
        patch.setattr(winograd, "BLOCK_BYTES", block)
        found = differentiate_planes(
            g.__getitem__,
            weight,
            x.__getitem__,
            target,
            scale=scale,
            add=not in_place,
            then=lambda where, made, _: seen.append((where, made.clone())),
        )
    expected = to_source if in_place else to_source + 1
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)
    assert found is not None
    torch.testing.assert_close(found, to_kernel, rtol=0, atol=1e-5 * to_kernel.abs().max().item())
    torch.testing.assert_close(torch.cat([made for _, made in seen]), target)
    assert [where.start for where, _ in seen] == [0, *(where.stop for where, _ in seen[:-1])]


def test_the_gradient_to_a_kernel_that_is_frozen_is_not_made() -> None:
    (x,), (g,) = planes.windows_of(window(3, (8, 6, 5))), planes.windows_of(window(4, (8, 6, 5)))
    weight, out = kernel(4, 3, 3, 3, 3), torch.empty_like(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(winograd.WinogradGradient, "_learn")
        patch.delattr(winograd.WinogradGradient, "to_turned")
        found = differentiate_planes(g.__getitem__, weight, x.__getitem__, out, learns=False)
    assert found is None


def test_bf16_noise_of_a_kernels_gradient_is_a_few_times_the_direct_sums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the forward convolution: mixed planes round two to three times as much as the planes themselves.

    A processor that only imitates bf16 rounds once more: there it is five times, 0.0081 against 0.0016.
    """
    shape = (16, 16, 16)
    source, gradient, weight = (
        window(16, shape).bfloat16(),
        window(16, shape, seed=1).bfloat16(),
        kernel(16, 16, 3, 3, 3),
    )
    _, exact = plain(source, weight, gradient)
    monkeypatch.setattr(convolution_gradients, "LEAST_PRODUCTS", 0)
    noise = {}
    for name in ("winograd", "direct"):
        monkeypatch.setattr(convolution_gradients, "winograd_pays", lambda _, chosen=name: chosen == "winograd")
        (x,), (g,) = planes.windows_of(source), planes.windows_of(gradient)
        found = differentiate_planes(g.__getitem__, weight, x.__getitem__, torch.empty_like(x))
        assert found is not None
        noise[name] = ((found - exact).std() / exact.std()).item()
    assert 1e-4 < noise["direct"] < 3e-3
    assert noise["direct"] < noise["winograd"] < (8e-3 if best_precision("cpu") == "bf16" else 1e-2)
