"""The vision transformer against timm's and transformers' DINOv3, fp32, in every layout of weights.

Both libraries need torchvision, so their answers for weights seeded by name are kept (``make_vit_golden.py`` made
them; the two differ by 4e-7 there). Tolerance 1e-5 of the largest value: float32 sums in another order. Every
comparison also proves that it can fail: each named mutation misses the tolerance tenfold.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from parity.seeded_vit import meta_shapes, seeded_images, seeded_vit
from vesalius.checkpoints.formats import dinov3_official, meddinov3_official, timm_vit, transformers_vit
from vesalius.checkpoints.formats.vit_layout import VitLayout, translate_encoder
from vesalius.models import Vit, build
from vesalius.models.vit import VitTokens

TOLERANCE = 1e-5
GOLDEN = Path(__file__).parent / "golden"
SIZES = ["16x24", "40x24", "48x56"]


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, Tensor]]:
    with safe_open(GOLDEN / "vit.safetensors", framework="pt") as file:
        yield {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def load(layout: VitLayout, state: dict[str, Tensor]) -> Vit:
    """Return our network with the weights of a foreign state dict."""
    translation = translate_encoder(layout, {name: tuple(tensor.shape) for name, tensor in state.items()})
    network = build(translation.architecture)
    network.load_state_dict(translation.assemble(state))
    return network.eval()


def dinov3() -> Vit:
    return load(dinov3_official.LAYOUT, seeded_vit(meta_shapes(width=128, depth=4, heads=2, patch=8)))


def meddinov3(*, width: int = 128, depth: int = 4, heads: int = 2, patch: int = 8) -> Vit:
    shapes = meta_shapes(width=width, depth=depth, heads=heads, patch=patch, qkv_bias=False)
    state = {f"backbone.{name}": tensor for name, tensor in seeded_vit(shapes).items()}
    return load(meddinov3_official.LAYOUT, {**state, "dino_head.mlp.0.weight": torch.zeros(2, 2)})


def image_of(size: str) -> Tensor:
    height, width = (int(side) for side in size.split("x"))
    return seeded_images(height, width)


def together(tokens: VitTokens) -> Tensor:
    return torch.cat([tokens.class_token[:, None], tokens.registers, tokens.patches], dim=1)


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference relative to the largest value."""
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


@torch.no_grad()
def worst(network: Vit, golden: dict[str, Tensor], size: str = "40x24", *, case: str = "dinov3") -> float:
    """The largest difference of two depths, all tokens."""
    found = network(image_of(size), [1, 3])
    return max(
        difference(together(tokens), golden[f"{case}/{size}/{tap}"])
        for tap, tokens in zip([1, 3], found, strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_every_token_of_two_depths_equals_theirs(golden: dict[str, Tensor], size: str) -> None:
    assert worst(dinov3(), golden, size) <= TOLERANCE


def test_without_biases_and_with_the_other_epsilon_too(golden: dict[str, Tensor]) -> None:
    network = meddinov3()
    assert not network.architecture.qkv_bias
    assert worst(network, golden, case="meddinov3") <= TOLERANCE


@torch.no_grad()
def test_hidden_patches_equal_theirs(golden: dict[str, Tensor]) -> None:
    is_masked = torch.tensor([[True, False, False, True, False, False]])
    found = dinov3()(image_of("16x24"), is_masked=is_masked)[0]
    assert difference(together(found), golden["dinov3/masked"]) <= TOLERANCE
    unmasked = dinov3()(image_of("16x24"))[0]
    assert difference(together(unmasked), golden["dinov3/masked"]) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("library", "layout"), [("timm", timm_vit.LAYOUT), ("transformers", transformers_vit.LAYOUT)]
)
@torch.no_grad()
def test_weights_under_the_names_of_other_libraries_answer_as_there(
    golden: dict[str, Tensor], library: str, layout: VitLayout
) -> None:
    shapes = json.loads((GOLDEN / "vit_names.json").read_text())[library]
    found = load(layout, seeded_vit(shapes))(image_of("16x24"))[0]
    assert difference(together(found), golden[f"{library}/16x24"]) <= TOLERANCE


@torch.no_grad()
def test_flexicts_stem_and_heads_of_72_channels_equal_timms(golden: dict[str, Tensor]) -> None:
    shapes = meta_shapes(width=144, depth=2, heads=2, patch=8, channels=1, qkv_bias=False)
    state = {}
    for name, tensor in seeded_vit(shapes).items():
        renamed = name.replace("patch_embed.", "patch_embed_2D.").replace("rope_embed.", "rope_embed_2D.")
        state[f"backbone.{renamed}"] = tensor
    found = load(meddinov3_official.FLEXICT, state)(image_of("16x24")[:, :1])[0]
    assert difference(together(found), golden["flexict/16x24"]) <= TOLERANCE


@pytest.mark.slow
@torch.no_grad()
def test_the_full_width_equals_theirs(golden: dict[str, Tensor]) -> None:
    found = meddinov3(width=768, depth=12, heads=12, patch=16)(image_of("48x64"), [2, 5, 8, 11])
    for tap, tokens in zip([2, 5, 8, 11], found, strict=True):
        assert difference(together(tokens)[..., ::16], golden[f"base/48x64/{tap}"]) <= TOLERANCE


def no_rotation(network: Vit, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vesalius.models.layers.transformer.rotate", lambda tokens, _: tokens)


def interleaved_rotation(network: Vit, patch: pytest.MonkeyPatch) -> None:
    from vesalius.models.layers.rotary import rotate

    def wrong(tokens: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
        order = torch.arange(64).reshape(2, 32).T.reshape(-1)
        return rotate(tokens[..., order], by)

    patch.setattr("vesalius.models.layers.transformer.rotate", wrong)


def rotation_in_bf16(network: Vit, patch: pytest.MonkeyPatch) -> None:
    from vesalius.models.layers.rotary import rotation

    def wrong(places: Tensor, head_width: int, base: float) -> tuple[Tensor, Tensor]:
        sines, cosines = rotation(places, head_width, base)
        return sines.bfloat16().float(), cosines.bfloat16().float()

    patch.setattr("vesalius.models.vit.rotation", wrong)


def registers_are_zero(network: Vit, patch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        network.registers.zero_()


def one_bias_dropped(network: Vit, patch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        network.get_parameter("blocks.2.mlp.contract.bias").zero_()


def value_bias_dropped(network: Vit, patch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        network.get_parameter("blocks.1.attention.value_bias").zero_()


def scales_swapped(network: Vit, patch: pytest.MonkeyPatch) -> None:
    first, second = (network.get_parameter(f"blocks.0.{name}.gamma") for name in ("scale1", "scale2"))
    with torch.no_grad():
        first.copy_(second.clone())


def no_final_norm(network: Vit, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network.norm, "forward", lambda tokens: tokens)


def other_epsilon(network: Vit, patch: pytest.MonkeyPatch) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3


Mutation = Callable[[Vit, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    "mutate",
    [
        no_rotation,
        interleaved_rotation,
        rotation_in_bf16,
        registers_are_zero,
        one_bias_dropped,
        value_bias_dropped,
        scales_swapped,
        no_final_norm,
        other_epsilon,
    ],
)
def test_a_fault_in_the_network_is_seen(
    golden: dict[str, Tensor], mutate: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = dinov3()
    mutate(network, monkeypatch)
    assert worst(network, golden) > 10 * TOLERANCE
