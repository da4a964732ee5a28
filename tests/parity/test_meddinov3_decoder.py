"""The decoder against the published one, written out (``published_decoder.py``): outputs and gradients, fp32.

Tolerance 1e-5 of the largest value: float32 sums in another order (measured 1e-6). Each named mutation misses it
tenfold.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from parity.published_decoder import PatchDecode
from parity.seeded_vit import seeded_vit
from vesalius.models.decoders import PrimusDecoder

TOLERANCE = 1e-5
WIDTH, TAPS = 64, 4


def pair() -> tuple[PrimusDecoder, PatchDecode]:
    published = PatchDecode(TAPS * WIDTH, patch_size=16, num_classes=7)
    state = seeded_vit({name: tuple(tensor.shape) for name, tensor in published.state_dict().items()})
    published.load_state_dict(state)
    ours = PrimusDecoder(TAPS * WIDTH, patch_size=16, num_classes=7)
    renamed = {}
    for name, tensor in state.items():
        number, *inner, kind = name.removeprefix("decode.").split(".")
        place = {"0": f"stages.{number}.upsample", "1": f"stages.{number}.norm"}[inner[0]] if inner else "classify"
        renamed[f"{place}.{kind}"] = tensor
    ours.load_state_dict(renamed)
    return ours, published


def features() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, WIDTH, 3, 4, generator=generator, requires_grad=True) for _ in range(TAPS)]


def difference(ours: Tensor, reference: Tensor) -> float:
    """Largest absolute difference relative to the largest value."""
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def test_logits_and_gradients_equal_the_published_ones() -> None:
    ours, published = pair()
    mine, theirs = features(), features()
    logits, wanted = ours(mine), published(torch.cat(theirs, dim=1))
    assert logits.shape == wanted.shape == (2, 7, 48, 64)
    assert difference(logits, wanted) <= TOLERANCE
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (logits * weight).sum().backward()
    (wanted * weight).sum().backward()
    pairs = list(zip([*mine, *ours.parameters()], [*theirs, *published.parameters()], strict=True))
    for one, other in pairs:
        assert one.grad is not None
        assert other.grad is not None
        assert difference(one.grad, other.grad) <= TOLERANCE


def swap_taps(decoder: PrimusDecoder, patch: pytest.MonkeyPatch) -> None:
    forward = decoder.forward
    patch.setattr(decoder, "forward", lambda found: forward([found[1], found[0], *found[2:]]))


def drop_bias(decoder: PrimusDecoder, patch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        decoder.get_parameter("stages.2.upsample.bias").zero_()


def approximate_gelu(decoder: PrimusDecoder, patch: pytest.MonkeyPatch) -> None:
    gelu = torch.nn.functional.gelu
    patch.setattr(torch.nn.functional, "gelu", lambda tensor: gelu(tensor, approximate="tanh"))


def norm_over_pixels(decoder: PrimusDecoder, patch: pytest.MonkeyPatch) -> None:
    def wrong(features: Tensor) -> Tensor:
        return torch.nn.functional.instance_norm(features)

    patch.setattr(decoder.stages[0].norm, "forward", wrong)


@pytest.mark.parametrize("mutate", [swap_taps, drop_bias, approximate_gelu, norm_over_pixels])
def test_a_fault_in_the_decoder_is_seen(
    mutate: Callable[[PrimusDecoder, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, published = pair()
    wanted = published(torch.cat(features(), dim=1))
    mutate(ours, monkeypatch)
    assert difference(ours(features()), wanted) > 10 * TOLERANCE
