"""Heads on a transformer: what the network of prompts is asked and answers, and that all of it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vesalius.errors import CheckpointError, NoHeadError, UsageError
from vesalius.models import build, optimise_for_inference
from vesalius.models.prompted_vit import PromptedVit
from vesalius.models.vit import Vit
from vesalius.spec import Depth, Lora, ModelSpec, PromptedVitArchitecture, VitArchitecture

ENCODER = VitArchitecture(patch_size=4, width=32, depth=3, heads=2, layer_scale=0.5)
TINY = PromptedVitArchitecture(
    encoder=ENCODER, taps=(0, 2), width=8, num_embeddings=6, last_supported=5, special_classes=(3,)
)


def network(architecture: PromptedVitArchitecture = TINY) -> PromptedVit:
    torch.manual_seed(0)
    return build(architecture)


def windows(*shape: int) -> Tensor:
    return torch.rand(*(shape or (2, 1, 8, 12, 4)), generator=torch.Generator().manual_seed(1))


def test_features_have_the_width_of_the_heads_at_every_voxel_with_and_without_gradients() -> None:
    whole = network()
    mapped, clicked = whole.both_features(windows())
    assert mapped.shape == clicked.shape == (2, 8, 8, 12, 4)
    with torch.no_grad():
        for found, expected in (
            (whole.mapped_features(windows()), mapped),
            (whole.point_features(windows()), clicked),
        ):
            assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_class_prompts_and_clicks_are_answered_object_by_object() -> None:
    whole = network()
    assert whole.class_logits(windows(), torch.tensor([1, 4, 5])).shape == (2, 3, 8, 12, 4)
    clicks = torch.tensor([[[1.0, 2, 3], [4, 5, 1]], [[7, 7, 2], [0, 0, 0]]])
    labels, supported = torch.tensor([[1, 0], [1, -1]]), torch.tensor([True, False])
    assert whole.point_logits(windows(1, 1, 8, 12, 4), clicks, labels, supported).shape == (1, 2, 8, 12, 4)


def test_each_slice_is_encoded_by_itself_unless_adapters_mix_them() -> None:
    plain = network().encoder
    changed = windows()
    changed[..., 0] += 1
    before, after = (plain(one, (2,))[0] for one in (windows(), changed))
    assert torch.equal(before[..., 1:], after[..., 1:])
    mixing = network(replace(TINY, adapters=(Depth(width=4, neighbours=3),))).encoder
    for adapter in mixing.encoder.blocks:
        torch.nn.init.normal_(adapter.sites["before_attention"].up)
    before, after = (mixing(one, (0,))[0] for one in (windows(), changed))
    assert not torch.equal(before[..., 1], after[..., 1])
    assert torch.equal(before[..., 2:], after[..., 2:]), "one block looks one slice away"


def test_everything_learns_and_of_an_adapted_encoder_the_adapters_alone() -> None:
    def learnt(architecture: PromptedVitArchitecture) -> set[str]:
        whole = network(architecture)
        clicks = (torch.tensor([[[1.0, 2, 3]]]), torch.tensor([[1]]), torch.tensor([True]))
        answers = whole.class_logits(windows(), torch.tensor([1, 2])).square().sum()
        answers = answers + whole.point_logits(windows(1, 1, 8, 8, 4), *clicks).square().sum()
        answers.backward()
        return {name for name, tensor in whole.named_parameters() if tensor.grad is not None}

    whole = learnt(TINY)
    assert {name.split(".")[0] for name in whole} == {
        "encoder", "automatic_decoder", "class_head", "point_decoder", "point_head"
    }  # fmt: skip
    adapted = learnt(replace(TINY, adapters=(Lora(rank=2),)))
    assert (
        {name for name in adapted if name.startswith("encoder")}
        == {name for name in adapted if "increments.lora" in name}
        != set()
    )


def test_a_backbone_s_weights_fit_and_intensities_are_brought_to_what_it_expects() -> None:
    torch.manual_seed(1)
    backbone = Vit(ENCODER)
    whole = network(replace(TINY, mean_std=(0.5, 0.25)))
    whole.encoder.encoder.load_state_dict(backbone.state_dict())
    image = windows(1, 1, 8, 12, 4)
    expected = backbone.feature_maps((image[..., 3] - 0.5) / 0.25, (2,))[0]
    torch.testing.assert_close(whole.encoder((image - 0.5) / 0.25, (2,))[0][..., 3], expected)
    seen: list[Tensor] = []
    whole.encoder.register_forward_hook(lambda _module, inputs, _found: seen.append(inputs[0]))
    whole.mapped_features(image)
    torch.testing.assert_close(seen[0], (image - 0.5) / 0.25)


def test_in_bf16_it_says_nearly_the_same() -> None:
    full, half = network().eval(), optimise_for_inference(network(), dtype=torch.bfloat16)
    with torch.no_grad():
        expected, found = (one.class_logits(windows(), torch.tensor([1, 2])).float() for one in (full, half))
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_windows_of_other_sizes_and_absent_branches_are_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 4"):
        network().mapped_features(windows(1, 1, 8, 10, 4))
    lame = network(replace(TINY, point_branch=False))
    with pytest.raises(NoHeadError, match="click branch"):
        lame.point_features(windows())


def test_its_spec_reads_back_equal_and_strictly() -> None:
    plans = (Lora(rank=2), Depth(width=4, neighbours=3))
    spec = ModelSpec(name="asked", architecture=replace(TINY, adapters=plans), window_size=(16, 16, 8))
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.vista is spec.architecture
    for wrong in ('"width": 7', '"width": 8, "heads_of_hydra": 9'):
        with pytest.raises(CheckpointError):
            ModelSpec.from_json(spec.to_json().replace('"width": 8', wrong))
    with pytest.raises(CheckpointError, match="multiples of 4"):
        replace(spec, window_size=(16, 16, 6))
    with pytest.raises(CheckpointError, match="taps"):
        replace(TINY, taps=(3,))
