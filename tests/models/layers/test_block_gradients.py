"""Gradients of residual blocks, plane by plane: those of plain differentiation, in either precision."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vesalius.models.layers import PostActivationBlock, PreActivationBlock, convolution_gradients, residual
from vesalius.models.layers.instance_norm import NormGradient

BLOCKS = [PreActivationBlock, PostActivationBlock]
Block = PreActivationBlock | PostActivationBlock


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.models.layers.planes.SLAB_BYTES", 20_000)  # several slabs, the last one shorter
    monkeypatch.setattr("vesalius.models.layers.winograd.BLOCK_BYTES", 10_000)
    monkeypatch.setattr("vesalius.models.layers.convolution_gradients.LEAST_PRODUCTS", 0)


def block_and_features(kind: Callable[[int], Block], *, batch: int = 2) -> tuple[Block, Tensor]:
    torch.manual_seed(0)
    block = kind(8)
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return block, (2 * torch.randn(batch, 8, 14, 12, 10) + 1).requires_grad_()


def gradients(
    block: Block, features: Tensor, *, plain: bool, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> dict[str, Tensor]:
    with monkeypatch.context() as patched:
        if plain:
            patched.setattr(residual, "learns_in_planes", lambda _: False)
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            result = block(features)
        weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        learning = {name: p for name, p in block.named_parameters() if p.requires_grad}
        found = torch.autograd.grad((result.float() * weights).sum(), [features, *learning.values()])
    return {"result": result.detach(), **dict(zip(["features", *learning], found, strict=True))}


@pytest.mark.parametrize("kind", BLOCKS)
def test_gradients_are_those_of_plain_differentiation(
    kind: Callable[[int], Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    block, features = block_and_features(kind)
    ours, plain = (
        gradients(block, features, plain=is_plain, monkeypatch=monkeypatch, precision=torch.float32)
        for is_plain in (False, True)
    )
    assert ours.keys() == plain.keys()
    assert len(ours) == 2 + len(list(block.parameters()))
    for name, expected in plain.items():
        tolerance = 2e-5 * expected.abs().max().item()
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=tolerance, msg=name)


def unscaled(*arguments: Any, scale: Tensor | None = None, **options: Any) -> Tensor | None:
    return convolution_gradients.differentiate_planes(*arguments, **options)


def nothing_is_stopped(norm: NormGradient) -> Callable[[slice, Tensor, Tensor], None]:
    return lambda where, gradient, _: norm.count(where, gradient)


@pytest.mark.parametrize(
    ("kind", "name", "mutation"),
    [
        (PreActivationBlock, "differentiate_planes", unscaled),
        (PreActivationBlock, "through_relu", nothing_is_stopped),
        (PreActivationBlock, "through_relu", lambda _: lambda *_: None),
        (PostActivationBlock, "differentiate_planes", unscaled),
        (PostActivationBlock, "through_leaky", nothing_is_stopped),
        (PostActivationBlock, "leaky_backward", lambda gradient, activated, *, out: out.copy_(gradient)),
    ],
)
def test_the_comparison_notices_a_missing_step(
    kind: Callable[[int], Block], name: str, mutation: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    block, features = block_and_features(kind)
    plain = gradients(block, features, plain=True, monkeypatch=monkeypatch, precision=torch.float32)
    monkeypatch.setattr(residual, name, mutation)
    ours = gradients(block, features, plain=False, monkeypatch=monkeypatch, precision=torch.float32)
    assert (ours["features"] - plain["features"]).abs().max() > 2e-4 * plain["features"].abs().max()


@pytest.mark.parametrize("kind", BLOCKS)
def test_under_autocast_they_are_near_to_the_exact_ones(
    kind: Callable[[int], Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Winograd's rounding noise in bf16 is two to three times that of direct sums, in both directions: up to four
    times in the gradient of a scale, a sum of terms that nearly cancel (0.12 against 0.03 of its norm here)."""
    block, features = block_and_features(kind)

    def found(*, plain: bool, precision: torch.dtype) -> dict[str, Tensor]:
        return gradients(block, features, plain=plain, monkeypatch=monkeypatch, precision=precision)

    exact = found(plain=True, precision=torch.float32)
    features = features.detach().bfloat16().requires_grad_()
    ours, plain = (found(plain=is_plain, precision=torch.bfloat16) for is_plain in (False, True))
    assert ours["result"].dtype == plain["result"].dtype
    for name, right in exact.items():
        error, plain_error = ((one[name].float() - right).norm() / right.norm() for one in (ours, plain))
        assert error < max(5 * plain_error, 0.02), name
        assert ours[name].dtype == plain[name].dtype, name


def test_what_is_frozen_gets_no_gradient() -> None:
    block, features = block_and_features(PreActivationBlock, batch=1)
    block.conv2.requires_grad_(False)
    block(features).sum().backward()
    assert block.conv2.weight.grad is None
    assert block.conv1.weight.grad is not None


@pytest.mark.parametrize(("kind", "maps"), [(PreActivationBlock, 3), (PostActivationBlock, 4)])
def test_kept_are_the_features_the_result_and_what_the_convolutions_gave(
    kind: Callable[[int], Block], maps: int
) -> None:
    block, features = block_and_features(kind, batch=1)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = block(features)
    assert [tensor.data_ptr() for tensor in kept[:2]] == [features.data_ptr(), result.data_ptr()]
    assert len(kept) == maps


def test_a_second_backward_pass_through_memory_that_was_used_again_is_refused() -> None:
    block, features = block_and_features(PostActivationBlock, batch=1)
    result = block(features).sum()
    result.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()
