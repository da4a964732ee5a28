"""The segmenter of slices: any size, its taps, precision, and that it can learn a slice by heart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from vesalius.errors import CheckpointError
from vesalius.models import MedDino, adapt, build, optimise_for_inference
from vesalius.spec import Depth, Fact, Lora, MedDinoArchitecture, ModelSpec, VitArchitecture

ENCODER = VitArchitecture(in_channels=1, patch_size=4, width=32, depth=3, heads=2, layer_scale=0.5)
TINY = MedDinoArchitecture(encoder=ENCODER, taps=(0, 2), num_classes=3)


def network(decoder: Literal["fused", "primus", "linear"] = "fused", taps: tuple[int, ...] = (0, 2)) -> MedDino:
    torch.manual_seed(0)
    return build(MedDinoArchitecture(encoder=ENCODER, taps=taps, num_classes=3, decoder=decoder))


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("decoder", ["fused", "primus", "linear"])
@pytest.mark.parametrize("taps", [(0, 2), (2,)])
@pytest.mark.parametrize("sides", [(16, 24), (13, 18)])
def test_every_pixel_has_logits_whatever_the_size(
    decoder: Literal["fused", "primus", "linear"], taps: tuple[int, ...], sides: tuple[int, int]
) -> None:
    assert network(decoder, taps)(images(2, 1, *sides)).shape == (2, 3, *sides)


def test_all_taps_reach_the_decoder_in_order() -> None:
    whole = network("primus").eval()
    found = whole.encoder.feature_maps(images(1, 1, 8, 8), [0, 2])
    assert torch.equal(whole(images(1, 1, 8, 8)), whole.decoder(found))
    assert not torch.allclose(whole(images(1, 1, 8, 8)), whole.decoder(found[::-1]), atol=1e-3)


def test_it_learns_a_slice_by_heart() -> None:
    torch.manual_seed(0)
    whole, image = network().train(), images(1, 1, 16, 16)
    target = torch.zeros(1, 16, 16, dtype=torch.long)
    target[:, 4:12, 2:9], target[:, 10:15, 9:15] = 1, 2
    optimiser = torch.optim.AdamW(whole.parameters(), lr=5e-3)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(whole(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (whole(image).argmax(1) == target).float().mean() > 0.98


def test_adapters_of_the_encoder_learn_beside_the_decoder() -> None:
    whole = network()
    before = whole.eval()(images(2, 1, 8, 8), slices=2)
    adapt(whole.encoder, Lora(rank=2), Depth(width=4))
    assert torch.equal(whole(images(2, 1, 8, 8), slices=2), before)
    learning = {name.split(".")[0] for name, tensor in whole.named_parameters() if tensor.requires_grad}
    assert learning == {"encoder", "decoder"}


def test_an_architecture_with_adapters_is_built_with_them_and_reads_back_equal() -> None:
    plans = (Lora(rank=2), Fact(rank=2), Depth(width=4, neighbours=3, site="after_mlp"))
    whole = build(replace(TINY, adapters=plans))
    learning = {name.split(".")[0] for name, tensor in whole.named_parameters() if not tensor.requires_grad}
    assert learning == {"encoder"}
    assert len([name for name in whole.state_dict() if "increments.lora" in name]) == 3 * 2 * 2
    spec = ModelSpec(name="deep", architecture=replace(TINY, adapters=plans), window_size=(64, 64, 1))
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "adapters",
    ["lora", [1], [{"kind": "prefix"}], [{"kind": ["lora"]}], [{}], [{"kind": "depth", "neighbours": 4}]],
)
def test_adapters_that_are_none_are_refused(adapters: object) -> None:
    spec = ModelSpec(name="deep", architecture=TINY, window_size=(64, 64, 1))
    fields = json.loads(spec.to_json())
    fields["architecture"]["adapters"] = adapters
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(json.dumps(fields))


def test_bf16_is_close_to_fp32() -> None:
    whole = network().eval()
    exact = whole(images(1, 1, 16, 16))
    optimise_for_inference(whole, dtype=torch.bfloat16)
    rounded = whole(images(1, 1, 16, 16)).float()
    assert 0 < (rounded - exact).std() < 0.05 * exact.std()


def test_it_trains_under_autocast_as_in_fp32() -> None:
    exact, rounded = network().train(), network().train()
    target = torch.randint(3, (1, 16, 16), generator=torch.Generator().manual_seed(2))
    torch.nn.functional.cross_entropy(exact(images(1, 1, 16, 16)), target).backward()
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(rounded(images(1, 1, 16, 16)).float(), target)
    loss.backward()
    for (name, one), other in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        if name != "encoder.mask_token":
            assert (one.grad - other.grad).norm() < 0.1 * one.grad.norm(), name
            assert not torch.equal(one.grad, other.grad), name


@pytest.mark.parametrize("taps", [(), (3,), (-1,)])
def test_a_tap_that_is_not_there_is_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="taps"):
        MedDinoArchitecture(encoder=ENCODER, taps=taps)


def test_its_spec_reads_back_equal_and_is_no_network_of_prompts() -> None:
    spec = ModelSpec(name="organs", architecture=TINY, window_size=(64, 64, 1), vocabulary=((1, "liver"),))
    assert ModelSpec.from_json(spec.to_json()) == spec
    with pytest.raises(CheckpointError, match="labels slices"):
        _ = spec.vista
