"""SAM's encoder and its upscaling against transformers', fp32, through the loader of the official layout.

transformers' answers for weights seeded by name are kept (``make_sam_golden.py`` made them). Tolerance 1e-5 of the
largest value: float32 sums in another order. The toy has 10 x 10 patches and windows of 4, which need filling up.
Every comparison also proves that it can fail: each named mutation misses the tolerance tenfold.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from parity.seeded_sam import grey_images, seeded_sam, toy_shapes, vit_b_shapes
from vesalius.checkpoints.formats import sam_official
from vesalius.models import Sam, build, optimise_for_inference
from vesalius.models.layers import relative_attention

TOLERANCE = 1e-5
GOLDEN = Path(__file__).parent / "golden" / "sam.safetensors"


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, Tensor]]:
    with safe_open(GOLDEN, framework="pt") as file:
        yield {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def load(state: dict[str, Tensor]) -> Sam:
    """Return our network with the weights of an official state dict."""
    translation = sam_official.translate({name: tuple(tensor.shape) for name, tensor in state.items()})
    network = build(translation.architecture)
    network.load_state_dict({ours: state[name] for name, ours in translation.names.items()})
    return network.eval()


def toy(grid: int = 10) -> Sam:
    return load(seeded_sam(toy_shapes(grid)))


@torch.no_grad()
def answers(network: Sam, side: int = 80) -> dict[str, Tensor]:
    """Return what the encoder says, and what its upscaling makes of it."""
    encoded: list[Tensor] = []
    with network.encoder.register_forward_hook(lambda _module, _given, found: encoded.append(found)):
        upscaled = network(grey_images(side, side))
    return {"encoded": encoded[0], "upscaled": upscaled}


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference relative to the largest value."""
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def worst(network: Sam, golden: dict[str, Tensor], case: str = "padded") -> float:
    return max(difference(found, golden[f"{case}/{name}"]) for name, found in answers(network).items())


def test_encoder_and_upscaling_equal_theirs(golden: dict[str, Tensor]) -> None:
    assert worst(toy(), golden) <= TOLERANCE


def test_images_of_another_size_equal_theirs_once_positions_are_brought_to_it(golden: dict[str, Tensor]) -> None:
    """Only tables of distances are interpolated by them; the positions they were given are torch's, as ours are."""
    assert worst(toy(grid=6), golden, "interpolated") <= TOLERANCE


def test_some_heads_at_a_time_say_what_all_do(golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative_attention, "_LOGITS_AT_ONCE", 1)
    assert worst(toy(), golden) <= TOLERANCE


def test_bfloat16_stays_near(golden: dict[str, Tensor]) -> None:
    assert worst(optimise_for_inference(toy(), dtype=torch.bfloat16), golden) <= 0.05


@pytest.mark.slow
def test_the_published_size_equals_theirs(golden: dict[str, Tensor]) -> None:
    for name, found in answers(load(seeded_sam(vit_b_shapes())), 1024).items():
        assert difference(found[:, ::16, ::16, ::16], golden[f"vit_b/{name}"]) <= TOLERANCE


def zeroed(network: Sam, name: str) -> None:
    with torch.no_grad():
        network.get_parameter(name).zero_()


def no_rows_in_windows(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.blocks.2.attention.row_distances")


def no_columns_in_the_whole_image(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.blocks.3.attention.column_distances")


def rows_are_columns(network: Sam, patch: pytest.MonkeyPatch) -> None:
    attention = network.encoder.blocks[1].attention
    attention.row_distances, attention.column_distances = attention.column_distances, attention.row_distances


def distances_the_other_way(network: Sam, patch: pytest.MonkeyPatch) -> None:
    between = relative_attention.between
    patch.setattr(relative_attention, "between", lambda table, side: between(table.flip(0), side))


def windows_are_not_filled_up(network: Sam, patch: pytest.MonkeyPatch) -> None:
    """Fill them up by repeating the edge: what is beyond the image is seen as something that is there."""

    def wrong(grid: Tensor, window: int) -> Tensor:
        below, beyond = (-side % window for side in grid.shape[1:3])
        return nn.functional.pad(grid.permute(0, 3, 1, 2), (0, beyond, 0, below), "replicate").permute(0, 2, 3, 1)

    patch.setattr("vesalius.models.sam.in_whole_windows", wrong)


def all_blocks_look_at_the_whole_image(network: Sam, patch: pytest.MonkeyPatch) -> None:
    for block in network.encoder.blocks:
        block.window = None


def no_positions(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.position")


def one_bias_dropped(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.blocks.2.mlp.contract.bias")


def bias_of_attention_dropped(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.blocks.0.attention.qkv.bias")


def no_norm_after_the_neck(network: Sam, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network.encoder.neck.norm2, "forward", lambda features: features)


def no_norm_in_the_upscaling(network: Sam, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network.upscaling.norm, "forward", lambda features: features)


def upscaled_without_its_bias(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "upscaling.upsample_again.bias")


def other_epsilon(network: Sam, patch: pytest.MonkeyPatch) -> None:
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-3


Mutation = Callable[[Sam, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    "mutate",
    [
        no_rows_in_windows,
        no_columns_in_the_whole_image,
        rows_are_columns,
        distances_the_other_way,
        windows_are_not_filled_up,
        all_blocks_look_at_the_whole_image,
        no_positions,
        one_bias_dropped,
        bias_of_attention_dropped,
        no_norm_after_the_neck,
        no_norm_in_the_upscaling,
        upscaled_without_its_bias,
        other_epsilon,
    ],
)
def test_a_fault_in_the_network_is_seen(
    golden: dict[str, Tensor], mutate: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = toy()
    mutate(network, monkeypatch)
    assert worst(network, golden) > 10 * TOLERANCE


def no_rows_in_the_whole_image(network: Sam, patch: pytest.MonkeyPatch) -> None:
    zeroed(network, "encoder.blocks.1.attention.row_distances")


def positions_of_the_nearest_patch(network: Sam, patch: pytest.MonkeyPatch) -> None:
    """Take them from where each patch lies, without a mixture of its neighbours."""

    def wrong(rows: int, columns: int) -> Tensor:
        learnt = network.encoder.position.permute(0, 3, 1, 2)
        return nn.functional.interpolate(learnt, size=(rows, columns), mode="nearest").permute(0, 2, 3, 1)

    patch.setattr(network.encoder, "_positions", wrong)


@pytest.mark.parametrize("mutate", [no_rows_in_the_whole_image, no_positions, positions_of_the_nearest_patch])
def test_a_fault_with_images_of_another_size_is_seen(
    golden: dict[str, Tensor], mutate: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = toy(grid=6)
    mutate(network, monkeypatch)
    assert worst(network, golden, "interpolated") > 10 * TOLERANCE
