"""Beside the processor every network computes where its input lies, and answers and learns as on the processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from other_device import DEVICE, Elsewhere, OtherDevice
from vesalius.models import adapt, build, compare, optimise_for_inference
from vesalius.models.layers.rotary import RotaryAugmentation
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.models.vit import SliceWise, Vit
from vesalius.spec import (
    Architecture,
    Depth,
    Fact,
    Lora,
    MedDinoArchitecture,
    PromptedVitArchitecture,
    VistaArchitecture,
    VitArchitecture,
)

CPU = torch.device("cpu")
VIT = VitArchitecture(in_channels=3, patch_size=4, width=16, depth=2, heads=2, registers=1, layer_scale=0.5)
PLANS = (Lora(rank=2), Fact(rank=2), Depth(width=4, neighbours=3))
SMALL = {"width": 8, "num_embeddings": 6, "last_supported": 5, "special_classes": (3,), "point_heads": 2}
Ask = Callable[[nn.Module, torch.device], Sequence[Tensor]]


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def both_branches(network: nn.Module, device: torch.device) -> Sequence[Tensor]:
    """Answers to class prompts and to clicks, both with objects in a batch; the window is no cube."""
    prompted, ids = cast(Promptable, network), torch.tensor([1, 3, 5])
    mapped, clicked = prompted.both_features(drawn(1, 1, 8, 16, 12).to(device))
    points = torch.tensor([[[3.0, 9, 2], [7, 12, 10]], [[0, 0, 0], [0, 0, 0]]]).to(device)
    labels, supported = torch.tensor([[1, 0], [3, -1]]).to(device), torch.tensor([True, False]).to(device)
    masks = prompted.point_head.logits(prompted.point_head.image_map(clicked), points, labels, supported)
    return compare(prompted.class_vectors(ids.to(device)), mapped), masks


def tokens(network: nn.Module, device: torch.device) -> Sequence[Tensor]:
    """Everything that is drawn while learning, drawn; a mask; a side that is filled up; one channel for three."""
    encoder = cast(Vit, network.train())
    encoder.drop_paths(0.5)
    encoder.augmentation = RotaryAugmentation(shift=0.1, jitter=1.2, rescale=2.0)
    is_masked = drawn(2, 6) > 0.6
    generator = torch.Generator().manual_seed(4)
    found = encoder(drawn(2, 1, 8, 11).to(device), (0, 1), is_masked=is_masked.to(device), generator=generator)
    return [part for one in found for part in (one.class_token, one.registers, one.patches)]


def slices(network: nn.Module, device: torch.device) -> Sequence[Tensor]:
    return SliceWise(cast(Vit, network))(drawn(1, 3, 8, 12, 4).to(device), (0, 1))


def pixels(network: nn.Module, device: torch.device) -> Sequence[Tensor]:
    return [cast(MedDino, network)(drawn(4, 3, 8, 11).to(device), slices=2)]


def decoded(decoder: str, **changes: object) -> tuple[Architecture, Ask]:
    sizes = {"encoder": VIT, "taps": (0, 1), "decoder": decoder, "num_classes": 3, **changes}
    return MedDinoArchitecture(**sizes), pixels  # type: ignore[arg-type]


NETWORKS: dict[str, tuple[Architecture, Ask]] = {
    "vista3d": (VistaArchitecture(blocks_down=(1, 1, 1), **SMALL), both_branches),  # type: ignore[arg-type]
    "vit": (VIT, tokens),
    "vit, slice by slice": (VIT, slices),
    "meddinov3, primus": decoded("primus"),
    "meddinov3, fused": decoded("fused", adapters=PLANS),
    "meddinov3, linear": decoded("linear"),
    "prompts on a vit": (
        PromptedVitArchitecture(encoder=VIT, taps=(0, 1), adapters=PLANS, mean_std=(0.3, 0.2), **SMALL),  # type: ignore[arg-type]
        both_branches,
    ),
}


def network_of(name: str) -> tuple[nn.Module, Ask]:
    """A network in which also what begins at zero has values."""
    architecture, ask = NETWORKS[name]
    torch.manual_seed(0)
    network = build(architecture)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network, ask


def answered(network: nn.Module, ask: Ask, device: torch.device, *, learns: bool) -> list[Tensor]:
    """The answers, and if asked for the gradient of all of them to everything that learns."""
    with torch.set_grad_enabled(learns):
        answers = list(ask(network, device))
        if not learns:
            return answers
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        loss = torch.stack([answer.float().square().mean() for answer in answers]).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    found = [gradient.flatten() for gradient in gradients if gradient is not None]
    return [*(answer.detach() for answer in answers), torch.cat(found)]


def assert_alike(here: Sequence[Tensor], there: Sequence[Tensor], *, tolerance: float) -> None:
    assert all(isinstance(one, Elsewhere) for one in there)
    for one, other in zip(here, there, strict=True):
        assert one.abs().max() > 0
        assert (one - other.cpu()).abs().max() <= tolerance * one.abs().max()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_answers_and_gradients_are_those_of_the_processor(name: str) -> None:
    network, ask = network_of(name)
    here = answered(network, ask, CPU, learns=True)
    with OtherDevice():
        there = answered(network.to(DEVICE), ask, DEVICE, learns=True)
    assert_alike(here, there, tolerance=1e-3)


@pytest.mark.parametrize("name", ["vista3d", "meddinov3, fused", "prompts on a vit"])
def test_answers_without_gradients_in_half_precision(name: str) -> None:
    network, ask = network_of(name)
    here = answered(optimise_for_inference(network, dtype=torch.bfloat16), ask, CPU, learns=False)
    with OtherDevice():
        there = answered(network.to(DEVICE), ask, DEVICE, learns=False)
    assert_alike(here, there, tolerance=0.1)


def test_a_frozen_encoder_is_run_without_gradients_and_the_rest_learns() -> None:
    network, ask = network_of("vista3d")
    cast(Promptable, network).encoder.requires_grad_(False)
    here = answered(network, ask, CPU, learns=True)
    with OtherDevice():
        there = answered(network.to(DEVICE), ask, DEVICE, learns=True)
    assert_alike(here, there, tolerance=1e-3)


def test_adapters_are_made_where_the_encoder_is() -> None:
    (network, ask), (other, _) = (network_of("vit, slice by slice") for _ in range(2))
    adapt(cast(Vit, network), *PLANS, generator=torch.Generator().manual_seed(2))
    here = answered(network, ask, CPU, learns=True)
    with OtherDevice():
        adapt(cast(Vit, other.to(DEVICE)), *PLANS, generator=torch.Generator().manual_seed(2))
        there = answered(other, ask, DEVICE, learns=True)
    assert_alike(here, there, tolerance=1e-3)
