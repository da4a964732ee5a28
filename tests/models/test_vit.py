"""The encoder: any size, any depth, masks, precision; and slices of volumes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vesalius.errors import UsageError
from vesalius.models import SliceWise, Vit, build, optimise_for_inference
from vesalius.models.layers.rotary import RotaryAugmentation
from vesalius.spec import VIT_BASE, VIT_LARGE, VIT_SMALL, VIT_TOY, VitArchitecture

TINY = VitArchitecture(patch_size=4, width=24, depth=4, heads=2, registers=3, layer_scale=0.5)


def encoder(architecture: VitArchitecture = TINY) -> Vit:
    torch.manual_seed(0)
    network = build(architecture)
    with torch.no_grad():
        for parameter in network.parameters():  # large enough that everything matters
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        (VIT_BASE, 85_641_984),  # MedDINOv3's
        (VitArchitecture(qkv_bias=True), 85_669_632 - 12 * 768),  # Meta's, whose keys have (masked) biases as well
        (VIT_SMALL, 21_587_328),
        (VIT_LARGE, 303_080_448),
    ],
    ids=["base", "base with biases", "small", "large"],
)
def test_the_sizes_are_the_published_ones(architecture: VitArchitecture, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build(architecture).parameters()) == parameters


def test_tokens_of_the_depths_asked_for_come_in_that_order() -> None:
    network, image = encoder(), images(2, 3, 12, 20)
    third, first, last = network(image, [2, 0, 3])
    assert third.class_token.shape == (2, 24)
    assert third.registers.shape == (2, 3, 24)
    assert third.patches.shape == (2, 15, 24)
    assert third.grid == (3, 5)
    assert torch.equal(last.patches, network(image)[0].patches)
    assert torch.equal(first.patches, network(image, [0])[0].patches)
    assert not torch.allclose(first.patches, third.patches)


def test_all_depths_share_the_final_norm() -> None:
    network = encoder()
    with torch.no_grad():
        network.norm.weight.zero_()
        network.norm.bias.copy_(torch.arange(24.0))
    for tokens in network(images(1, 3, 8, 8), range(4)):
        assert torch.equal(tokens.patches, torch.arange(24.0).expand(1, 4, 24))


def test_feature_maps_are_the_patches_in_their_places() -> None:
    network, image = encoder(), images(1, 3, 12, 20)
    found = network.feature_maps(image, [1])[0]
    assert found.shape == (1, 24, 3, 5)
    assert torch.equal(found[0, :, 1, 2], network(image, [1])[0].patches[0, 5 * 1 + 2])


def test_an_image_of_odd_sides_is_as_the_filled_up_one() -> None:
    network, odd = encoder(), images(1, 3, 11, 18)
    filled = torch.nn.functional.pad(odd, (0, 2, 0, 1), mode="replicate")
    assert torch.equal(network(odd)[0].patches, network(filled)[0].patches)


def test_a_stem_of_other_channels_answers_alike_where_they_are_alike() -> None:
    network, grey = encoder(), images(1, 1, 8, 8)
    before = network(grey.expand(-1, 3, -1, -1))[0].patches
    network.set_channels(5)
    assert network.architecture.in_channels == 5
    torch.testing.assert_close(network(grey.expand(-1, 5, -1, -1))[0].patches, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(grey)[0].patches, before, atol=1e-5, rtol=1e-5)
    assert build(network.architecture).load_state_dict(network.state_dict())
    with pytest.raises(UsageError):
        network.set_channels(0)


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network, image = encoder(), images(3, 3, 8, 12)
    alone = network(image[1:2])[0]
    torch.testing.assert_close(network(image)[0].patches[1:2], alone.patches, atol=1e-5, rtol=1e-5)


def test_a_hidden_patch_does_not_matter_and_the_mask_token_does() -> None:
    network, image = encoder(), images(1, 3, 8, 8)
    is_masked = torch.tensor([[True, False, False, False]])
    changed = image.clone()
    changed[:, :, :4, :4] = 7.0
    before = network(image, is_masked=is_masked)[0].patches
    assert torch.equal(network(changed, is_masked=is_masked)[0].patches, before)
    assert not torch.allclose(network(changed)[0].patches, network(image)[0].patches)
    with torch.no_grad():
        network.mask_token.add_(torch.linspace(-1, 1, 24))  # a norm does not see one number added to all
    assert not torch.allclose(network(image, is_masked=is_masked)[0].patches, before)


def test_positions_matter_and_vary_only_while_training() -> None:
    network, image = encoder(), images(1, 3, 8, 12)
    network.augmentation = RotaryAugmentation(rescale=2.0)
    still = network(image)[0].patches
    assert torch.equal(still, network(image)[0].patches)
    network.train()
    drawn = [network(image, generator=torch.Generator().manual_seed(n))[0].patches for n in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], still)
    flipped = network.eval()(image.flip(3))[0].patches
    assert not torch.allclose(flipped[:, :3].flip(1), still[:, :3], atol=1e-3)


def test_branches_are_skipped_only_while_training() -> None:
    network, image = encoder(), images(4, 3, 8, 8)
    network.drop_paths(0.5)
    still = network(image)[0].patches
    assert torch.equal(network(image)[0].patches, still)
    assert not torch.allclose(network.train()(image)[0].patches, still)
    with pytest.raises(UsageError, match="probability"):
        network.drop_paths(1.0)


def test_every_parameter_learns() -> None:
    network = encoder(VitArchitecture(patch_size=4, width=24, depth=2, heads=2, qkv_bias=True, layer_scale=0.5))
    is_masked = torch.tensor([[True, False, False, False]])
    tokens = network.train()(images(1, 3, 8, 8), is_masked=is_masked)[0]
    together = torch.cat([tokens.class_token[:, None], tokens.registers, tokens.patches], dim=1)
    (together * images(*together.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


def test_the_mask_token_has_a_gradient_also_without_a_mask() -> None:
    network = encoder().train()
    network(images(1, 3, 8, 8))[0].patches.sum().backward()
    assert network.mask_token.grad is not None


def test_bf16_is_close_to_fp32_and_norms_stay() -> None:
    network, image = encoder(VIT_TOY), images(1, 3, 32, 32)
    exact = network.feature_maps(image)[0]
    assert torch.equal(optimise_for_inference(network).feature_maps(image)[0], exact)
    optimise_for_inference(network, dtype=torch.bfloat16)
    rounded = network.feature_maps(image)[0]
    assert rounded.dtype == network.norm.weight.dtype == torch.float32
    assert 0 < (rounded - exact).std() < 0.05 * exact.std()
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("taps", [[4], [-1], []])
def test_a_depth_that_is_not_there_is_refused(taps: list[int]) -> None:
    with pytest.raises(UsageError, match="0 to 3"):
        encoder()(images(1, 3, 8, 8), taps)


def test_a_volume_is_its_slices() -> None:
    network = encoder()
    volumes = images(2, 1, 8, 12, 3)
    deep, shallow = SliceWise(network)(volumes, [3, 1])
    assert deep.shape == shallow.shape == (2, 24, 2, 3, 3)
    for b in range(2):
        for k in range(3):
            alone = network.feature_maps(volumes[b : b + 1, :, :, :, k], [3, 1])
            torch.testing.assert_close(deep[b : b + 1, ..., k], alone[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(shallow[b : b + 1, ..., k], alone[1], atol=1e-5, rtol=1e-5)


def test_a_part_of_a_volume_is_refused() -> None:
    with pytest.raises(UsageError, match="whole volumes of 2 slices"):
        encoder()(images(3, 1, 8, 8), slices=2)
