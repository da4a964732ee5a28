"""A card's memory is forecast apart from the machine's. No card was at hand: its driver's answers are made up here.

What tensors take beside the processor is counted on torch's ``meta`` device, where nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from inference.live_bytes import LiveBytes
from inference.slice_model import slice_spec
from inference.test_plan import GB, demand, steady
from vesalius.cli.progress import describe
from vesalius.errors import MemoryBudgetError
from vesalius.geometry.grid import Grid
from vesalius.inference.card import free_bytes
from vesalius.inference.plan import make_plan, pass_bytes
from vesalius.inference.slice_plan import SliceDemand, SlicePlan, make_slice_plan
from vesalius.inference.vit_costs import image_bytes
from vesalius.models.build import build
from vesalius.spec import Architecture, MedDinoArchitecture, ModelSpec, VistaArchitecture, VitArchitecture

Card = Callable[[float], None]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    """A card with some gigabytes free; of what torch took from it, one is not in use."""
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GB)

    def with_free(gigabytes: float) -> None:
        told = int((gigabytes - 1) * GB)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (told, 80 * GB))

    return with_free


@torch.inference_mode()
def counted(architecture: Architecture, image: Sequence[int], call: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the most bytes alive during a pass beside the processor; scores of attention are never made there."""
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q)
    )
    with torch.device("meta"):
        network = build(architecture).eval()
        window = torch.empty(*image)
        with LiveBytes([*network.parameters(), *network.buffers()]) as live:
            getattr(network, call)(window)
    return live.peak


def test_a_window_s_pass_beside_the_processor_takes_what_is_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(name="narrow", architecture=VistaArchitecture(width=16, point_branch=False))
    found = counted(spec.vista, (1, 1, *spec.window_size), "mapped_features", monkeypatch)
    forecast = pass_bytes(spec, "fp32", 1, direct_sums=False, streams=False)
    assert 0.98 < forecast / found < 1.1
    assert pass_bytes(spec, "fp32", 1, direct_sums=True) < 0.7 * found, "on a processor planes are streamed"


@pytest.mark.parametrize("decoder", ["primus", "fused", "linear"])
@pytest.mark.parametrize("taps", [(1,), (0, 1)])
def test_images_beside_the_processor_take_at_most_what_is_forecast(
    decoder: str, taps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = VitArchitecture(width=384, depth=2, heads=6)
    architecture = MedDinoArchitecture(encoder=encoder, taps=taps, decoder=decoder, num_classes=20)
    found = counted(architecture, (2, 1, 448, 448), "forward", monkeypatch)
    forecast = image_bytes(architecture, (448, 448), 2, 4, depth_first=False)
    assert 1.0 < forecast / found < 2.1
    if decoder != "linear":
        more = [image_bytes(architecture, (448, 448), n, 4, depth_first=False) for n in (2, 20)]
        depth_first = [image_bytes(architecture, (448, 448), n, 4) for n in (2, 20)]
        assert depth_first[1] - depth_first[0] < 0.5 * (more[1] - more[0]), "a processor decodes a part at a time"


def test_network_and_slab_are_held_against_the_card_and_the_rest_against_the_machine(card: Card) -> None:
    here = make_plan(demand(), precision="fp32", max_bytes=64 * GB, flops_per_second=steady)
    asked = demand(device="cuda:0")
    card(24)
    assert free_bytes("cuda:0") == 24 * GB
    plan = make_plan(asked, precision="fp32", max_bytes=3 * GB, flops_per_second=steady)
    assert here.peak_bytes > 3 * GB > plan.peak_bytes
    assert {part for parts in plan.card.values() for part in parts} == {"slab", "network", "interpolation"}
    assert not {"slab", "network"} & {part for parts in plan.phases.values() for part in parts}
    assert "on the card" in describe(plan)
    assert plan.as_dict()["card_bytes"] == plan.card
    assert (here.card, "card_bytes" in here.as_dict()) == ({}, False)
    card(1.5)
    with pytest.raises(MemoryBudgetError, match=r"1.5 GB of the memory of cuda:0") as refusal:
        make_plan(asked, precision="fp32", max_bytes=64 * GB, flops_per_second=steady)
    assert "--device cpu" in refusal.value.do
    assert "--max-memory" not in refusal.value.do


def large_slices(device: str) -> SlicePlan:
    """Plan slices as large as the published model's, of a network with four taps side by side."""
    encoder = VitArchitecture(width=768, depth=12, heads=12)
    architecture = MedDinoArchitecture(encoder=encoder, taps=(2, 5, 8, 11), decoder="primus", num_classes=20)
    spec = slice_spec(architecture=architecture, window_size=(896, 896, 1), spacing_mm=(0.5, 0.5, 0.0))
    asked = SliceDemand(
        spec=spec,
        grid=Grid((896, 896, 40), np.diag([0.5, 0.5, 3.0, 1.0])),
        num_classes=3,
        label_bytes=1,
        resident_bytes=GB,
        device=device,
    )
    return make_slice_plan(asked, precision="fp32", max_bytes=64 * GB, speeds=lambda *_: (1e11, 1e11))


def test_slices_are_batched_as_far_as_a_card_has_memory_for_them(card: Card) -> None:
    plans = []
    for gigabytes in (80, 10, 3):
        card(gigabytes)
        plans.append(large_slices("cuda:0"))
        assert max(sum(parts.values()) for parts in plans[-1].card.values()) <= gigabytes * GB
    assert plans[0].at_once == 10, "as many as pay"
    assert 10 > plans[1].at_once > plans[2].at_once >= 1
    assert "network" not in plans[0].phases["windows"]
    card(1)
    with pytest.raises(MemoryBudgetError, match="cuda:0"):
        large_slices("cuda:0")


def test_slices_beside_the_processor_in_the_machine_s_memory_are_bounded_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vesalius.inference.card.available_bytes", lambda: 5 * GB)
    plan = large_slices("mps:0")
    assert (1 <= plan.at_once < 5, plan.card) == (True, {})
    assert plan.phases["windows"]["network"] < 5 * GB
