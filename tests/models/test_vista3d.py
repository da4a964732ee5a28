"""The network as others see it: shapes, branches, batches, precision, gradients."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from vesalius.errors import NoHeadError, UsageError
from vesalius.models import Vista3D, build, compare, optimise_for_inference
from vesalius.spec import VistaArchitecture

SMALL = VistaArchitecture(width=8, blocks_down=(1, 2, 1), num_embeddings=20)
IDS = torch.tensor([1, 3, 19])
POINTS = torch.tensor([[[1.0, 2, 3], [9, 9, 9]], [[4, 4, 4], [0, 0, 0]]])
LABELS = torch.tensor([[1, 0], [3, -1]])
SUPPORTED = torch.tensor([True, False])

WITHOUT_EFFECT = ("point_head.downsample.bias", "point_head.map_conv.bias", "point_head.upsample.bias")
"""Biases right before a norm that takes the mean away again; kept because the published files have them."""


def small(seed: int = 0, architecture: VistaArchitecture = SMALL) -> Vista3D:
    torch.manual_seed(seed)
    network = build(architecture)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:  # affines off their initial 1 and 0
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def window(*shape: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    ("width", "blocks", "shape"),
    [(8, (1, 1), (8, 6, 10)), (16, (1, 2, 2, 4), (16, 24, 32)), (8, (1, 1, 1, 1, 1), (32, 32, 48))],
)
def test_logits_have_the_shape_of_the_window(width: int, blocks: tuple[int, ...], shape: tuple[int, ...]) -> None:
    network = small(architecture=VistaArchitecture(width=width, blocks_down=blocks, num_embeddings=20))
    with torch.inference_mode():
        assert network.mapped_features(window(*shape)).shape == (1, width, *shape)
        assert network.class_vectors(IDS).shape == (3, width)
        assert network.class_logits(window(*shape), IDS).shape == (1, 3, *shape)
        assert network.point_features(window(*shape)).shape == (1, width, *shape)
        assert network.point_logits(window(*shape), POINTS, LABELS, SUPPORTED).shape == (1, 2, *shape)


@pytest.mark.parametrize("shape", [(24, 16, 20), (12, 8, 8), (20, 28, 12), (8, 32, 8)])
def test_planes_and_whole_windows_give_the_same(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.models.layers.planes.SLAB_BYTES", 40_000)  # several slabs, the last one shorter
    monkeypatch.setattr("vesalius.models.layers.winograd.BLOCK_BYTES", 20_000)  # several blocks of rows
    network = small()
    whole = network.class_logits(window(*shape), IDS).detach()
    clicked = network.point_logits(window(*shape), POINTS, LABELS, SUPPORTED).detach()
    with torch.no_grad():
        planes = network.class_logits(window(*shape), IDS)
        torch.testing.assert_close(planes, whole, rtol=0, atol=2e-5 * whole.abs().max().item())
        planes = network.point_logits(window(*shape), POINTS, LABELS, SUPPORTED)
        torch.testing.assert_close(planes, clicked, rtol=0, atol=2e-5 * clicked.abs().max().item())


@pytest.mark.parametrize("gradients", [True, False])
def test_a_batch_of_two_is_two_single_windows(gradients: bool) -> None:
    network, windows = small(), torch.cat([window(16, 12, 8), 3 * window(16, 12, 8) - 1])
    with torch.set_grad_enabled(gradients):
        together = network.mapped_features(windows).detach()
        apart = torch.cat([network.mapped_features(one[None]).detach() for one in windows])
        points = network.point_features(windows).detach()
        points_apart = torch.cat([network.point_features(one[None]).detach() for one in windows])
    assert (apart[0] - apart[1]).abs().max() > 0.1
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(points, points_apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gradients", [True, False])
def test_one_pass_of_the_encoder_serves_both_branches(gradients: bool) -> None:
    network, image = small(), window(16, 12, 8)
    with torch.set_grad_enabled(gradients):
        mapped, clicked = network.both_features(image)
        torch.testing.assert_close(mapped, network.mapped_features(image))
        torch.testing.assert_close(clicked, network.point_features(image))


def test_inference_leaves_its_arguments_and_weights_unchanged() -> None:
    network, image = small(), window(16, 16, 16)
    weights, before, points = copy.deepcopy(network.state_dict()), image.clone(), POINTS.clone()
    with torch.inference_mode():
        first = network.class_logits(image, IDS)
        network.point_logits(image, points, LABELS, SUPPORTED)
        again = network.class_logits(image, IDS)
    assert torch.equal(image, before)
    assert torch.equal(points, POINTS)
    assert torch.equal(first, again)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_every_parameter_learns() -> None:
    network = small()
    logits = network.class_logits(window(16, 16, 16, batch=2), torch.arange(20))
    clicked = network.point_logits(window(16, 16, 16), POINTS.repeat(3, 1, 1), ALL_LABELS, ALL_SUPPORTED)
    ((logits * torch.rand_like(logits)).sum() + (clicked * torch.rand_like(clicked)).sum()).backward()
    scale = max(
        parameter.grad.abs().max().item() for parameter in network.parameters() if parameter.grad is not None
    )
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        no_effect = name in WITHOUT_EFFECT or name.endswith(
            "key.bias"
        )  # a shift of all keys leaves softmax as it is
        assert (parameter.grad.abs().max().item() > 1e-7 * scale) or no_effect, name


def test_a_frozen_encoder_leaves_no_graph_and_the_decoder_learns_the_same() -> None:
    network, image = small(), window(16, 12, 8)
    weights = torch.randn(1, 8, 16, 12, 8, generator=torch.Generator().manual_seed(1))
    parameters = list(network.automatic_decoder.parameters())
    learning = torch.autograd.grad((network.mapped_features(image) * weights).sum(), parameters)
    network.encoder.requires_grad_(False)
    frozen = torch.autograd.grad((network.mapped_features(image) * weights).sum(), parameters)
    for own, other in zip(frozen, learning, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=5e-5 * other.abs().max().item())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(skip.dtype == torch.bfloat16 and skip.grad_fn is None for skip in network._encode(image))


ALL_LABELS = torch.tensor([[1, 0], [3, -1], [2, 1], [0, 3], [1, 1], [2, 2]])
ALL_SUPPORTED = torch.tensor([True, False, True, False, True, True])


def test_bf16_is_close_to_fp32() -> None:
    architecture = VistaArchitecture(width=16, blocks_down=(1, 2, 2), num_embeddings=20)
    network, image = small(architecture=architecture), window(32, 32, 32)
    with torch.inference_mode():
        exact = network.class_logits(image, IDS)
        clicked = network.point_logits(image, POINTS, LABELS, SUPPORTED)
        optimise_for_inference(network, dtype=torch.bfloat16)
        features = network.mapped_features(image)
        rounded = compare(network.class_vectors(IDS), features)
        rounded_clicks = network.point_logits(image, POINTS, LABELS, SUPPORTED)
    assert features.dtype == torch.bfloat16
    assert network.class_vectors(IDS).dtype == torch.float32
    assert (rounded.float() - exact).std() < 0.05 * exact.std()
    assert (rounded_clicks.float() - clicked).std() < 0.05 * clicked.std()
    assert not torch.equal(rounded.float(), exact)


def test_optimising_in_fp32_changes_no_result() -> None:
    network, image = small(), window(16, 16, 16)
    with torch.inference_mode():
        before = network.class_logits(image, IDS)
        after = optimise_for_inference(network).class_logits(image, IDS)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_window_of_a_wrong_size_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 4"):
        small().mapped_features(window(16, 18, 16))


def test_an_absent_branch_is_refused_and_holds_no_weights() -> None:
    automatic = small(architecture=VistaArchitecture(width=8, blocks_down=(1, 1), point_branch=False))
    clicks = small(architecture=VistaArchitecture(width=8, blocks_down=(1, 1), class_branch=False))
    assert not any(name.startswith("point") for name in automatic.state_dict())
    assert not any(name.startswith(("class", "automatic")) for name in clicks.state_dict())
    assert automatic.class_logits(window(8, 8, 8), IDS).shape == (1, 3, 8, 8, 8)
    with pytest.raises(NoHeadError):
        automatic.point_features(window(8, 8, 8))
    with pytest.raises(NoHeadError):
        automatic.point_logits(window(8, 8, 8), POINTS, LABELS, SUPPORTED)
    with pytest.raises(NoHeadError):
        clicks.mapped_features(window(8, 8, 8))
    with pytest.raises(NoHeadError):
        clicks.class_vectors(IDS)
