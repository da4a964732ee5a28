"""The whole network against MONAI's ``vista3d132``, full width, fp32: class logits and click logits.

Tolerance 1e-4 of the largest value (float32 sums in another order; measured 1e-5). Every comparison also proves
that it can fail: each named mutation misses the tolerance tenfold.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from vesalius.checkpoints.formats.vista3d_official import convert
from vesalius.models import Vista3D, build, optimise_for_inference
from vesalius.models.class_head import compare
from vesalius.models.layers import convolution
from vesalius.models.layers.winograd import WinogradKernel

TOLERANCE = 1e-4
CLASS_IDS = torch.tensor([1, 5, 23, 117, 132, 0, 511])
POINT_LABELS = torch.tensor([[1, 0], [3, -1], [0, 1], [2, 3], [-1, -1]])
SUPPORTED = torch.tensor([True, True, False, True, False])
PROMPT_CLASS = torch.tensor([3, 23, 600, 57, 133])  # 132 is the last supported


class Pair(NamedTuple):
    """Both networks with the same weights."""

    monai: nn.Module
    ours: Vista3D


class Answers(NamedTuple):
    """What a network says of one window."""

    classes: Tensor
    clicks: Tensor


@pytest.fixture(scope="module")
def pair() -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        from monai.networks.nets import vista3d132

        monai = vista3d132().eval()
    spec = importlib.util.spec_from_file_location("seeded_weights", Path(__file__).with_name("seeded_weights.py"))
    assert spec is not None
    assert spec.loader is not None
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    state = seeded.seeded_state(monai.state_dict())
    monai.load_state_dict(state)
    ours_state, model_spec = convert(state)
    ours = build(model_spec.architecture)
    ours.load_state_dict(ours_state)
    return Pair(monai, optimise_for_inference(ours))


def window_and_points(side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side)
    window = torch.rand(1, 1, side, side, side, generator=generator)
    points = torch.randint(0, side, (5, 2, 3), generator=generator).float()
    points[0, 0] = 0.0
    points[2, 1] = side - 1.0
    return window, points


def ask_monai(monai: nn.Module, window: Tensor, points: Tensor) -> Answers:
    with torch.no_grad():
        classes = monai(window, class_vector=CLASS_IDS[:, None])
        # MONAI leaves out objects whose clicks are all padding, so its head is asked directly
        features, _ = monai.image_encoder(window, with_point=True, with_label=False)
        clicks = monai.point_head(features, points, POINT_LABELS.clone(), class_vector=PROMPT_CLASS)
    return Answers(classes.transpose(0, 1), clicks.transpose(0, 1))


def ask_ours(ours: Vista3D, window: Tensor, points: Tensor) -> Answers:
    with torch.inference_mode():
        return Answers(
            ours.class_logits(window, CLASS_IDS), ours.point_logits(window, points, POINT_LABELS, SUPPORTED)
        )


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference relative to the largest value."""
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def ask_ours_at_once(ours: Vista3D, window: Tensor, points: Tensor) -> Answers:
    """As ``ask_ours``, from one pass of the encoder."""
    with torch.inference_mode():
        mapped, clicked = ours.both_features(window)
        clicks = ours.point_head.logits(ours.point_head.image_map(clicked), points, POINT_LABELS, SUPPORTED)
        return Answers(compare(ours.class_vectors(CLASS_IDS), mapped), clicks)


@pytest.fixture(scope="module")
def reference(pair: Pair) -> Answers:
    return ask_monai(pair.monai, *window_and_points(32))


@pytest.fixture(scope="module")
def point_features(pair: Pair) -> Tensor:
    """What the click branch makes of the window before its head."""
    with torch.inference_mode():
        return pair.ours.point_features(window_and_points(32)[0])


def test_class_and_click_logits_equal_monais(pair: Pair, reference: Answers) -> None:
    answers = ask_ours(pair.ours, *window_and_points(32))
    assert answers.classes.shape == reference.classes.shape == (1, 7, 32, 32, 32)
    assert difference(answers.classes, reference.classes) <= TOLERANCE
    assert difference(answers.clicks, reference.clicks) <= TOLERANCE
    for mine, theirs in zip(answers.clicks[0], reference.clicks[0], strict=True):  # no object hides behind another
        assert difference(mine, theirs) <= TOLERANCE


def test_one_pass_of_the_encoder_serves_both_branches(pair: Pair, reference: Answers) -> None:
    answers = ask_ours_at_once(pair.ours, *window_and_points(32))
    assert difference(answers.classes, reference.classes) <= TOLERANCE
    assert difference(answers.clicks, reference.clicks) <= TOLERANCE


def test_the_path_with_gradients_gives_the_same(pair: Pair, reference: Answers) -> None:
    window, points = window_and_points(32)
    assert torch.is_grad_enabled()
    assert difference(pair.ours.class_logits(window, CLASS_IDS), reference.classes) <= TOLERANCE
    clicks = pair.ours.point_logits(window, points, POINT_LABELS, SUPPORTED)
    assert difference(clicks, reference.clicks) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 64, 64), (96, 64, 48)])
def test_larger_and_oblong_windows_equal_monais(pair: Pair, shape: tuple[int, int, int]) -> None:
    window = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(7))
    points = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(8)) * torch.tensor(shape)
    ours, theirs = ask_ours(pair.ours, window, points.floor()), ask_monai(pair.monai, window, points.floor())
    assert difference(ours.classes, theirs.classes) <= TOLERANCE
    assert difference(ours.clicks, theirs.clicks) <= TOLERANCE


Mutation = Callable[[Vista3D, pytest.MonkeyPatch], None]


def drop_head_bias(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(network.automatic_decoder.head._parameters, "bias", nn.Parameter(torch.zeros(48)))
    patch.setitem(network.point_decoder.head._parameters, "bias", nn.Parameter(torch.zeros(48)))


def swap_decoders(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    automatic, point = network.automatic_decoder, network.point_decoder
    patch.setitem(network._modules, "automatic_decoder", point)
    patch.setitem(network._modules, "point_decoder", automatic)


def swap_norms_of_one_block(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    for decoder in (network.automatic_decoder, network.point_decoder):
        block = decoder.blocks[-1]
        assert isinstance(block, nn.Module)
        first, second = block.norm1, block.norm2
        patch.setitem(block._modules, "norm1", second)
        patch.setitem(block._modules, "norm2", first)


def lose_a_winograd_product(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    def broken(weight: Tensor) -> WinogradKernel:
        kernel = WinogradKernel(weight)
        kernel.kernels[5] = torch.zeros_like(kernel.kernels[5])
        return kernel

    patch.setattr(convolution, "winograd_kernel", broken)


def round_features_to_bf16(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    encode = network._encode
    patch.setattr(network, "_encode", lambda windows: [skip.bfloat16().float() for skip in encode(windows)])


@pytest.mark.parametrize(
    "mutate",
    [
        drop_head_bias,
        pytest.param(swap_decoders, marks=pytest.mark.slow),
        pytest.param(swap_norms_of_one_block, marks=pytest.mark.slow),
        lose_a_winograd_product,
        round_features_to_bf16,
    ],
)
def test_a_fault_in_the_network_is_seen(
    mutate: Mutation, pair: Pair, reference: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(pair.ours, monkeypatch)
    answers = ask_ours_at_once(pair.ours, *window_and_points(32))
    assert difference(answers.classes, reference.classes) > 10 * TOLERANCE
    assert difference(answers.clicks, reference.clicks) > 10 * TOLERANCE


def forget_special(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(network.point_head.tokens._parameters, "special", nn.Parameter(torch.zeros(1, 48)))


def swap_supported_and_zero_shot(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    tokens = network.point_head.tokens
    supported, zero_shot = tokens.supported, tokens.zero_shot
    patch.setitem(tokens._parameters, "supported", zero_shot)
    patch.setitem(tokens._parameters, "zero_shot", supported)


def shift_clicks_by_a_voxel(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    logits = network.point_head.logits
    patch.setattr(network.point_head, "logits", lambda image, points, *rest: logits(image, points + 1, *rest))


def first_layer_with_residual(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network.point_head.transformer.layers[0], "first", False)


def drop_mask_bias(network: Vista3D, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(network.point_head.mask_conv._parameters, "bias", nn.Parameter(torch.zeros(48)))


@pytest.mark.parametrize(
    "mutate",
    [
        forget_special,
        swap_supported_and_zero_shot,
        shift_clicks_by_a_voxel,
        first_layer_with_residual,
        drop_mask_bias,
    ],
)
def test_a_fault_in_the_point_head_is_seen(
    mutate: Mutation, pair: Pair, reference: Answers, point_features: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, (_, points) = pair.ours.point_head, window_and_points(32)
    mutate(pair.ours, monkeypatch)
    with torch.inference_mode():
        clicks = head.logits(head.image_map(point_features), points, POINT_LABELS, SUPPORTED)
    assert difference(clicks, reference.clicks) > 10 * TOLERANCE
