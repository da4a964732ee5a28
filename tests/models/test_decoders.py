"""Decoders: from the grid of patches to pixels, whatever the number of taps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vesalius.errors import UsageError
from vesalius.models.decoders import ChannelNorm, FusedDecoder, LinearDecoder, PrimusDecoder


def maps(taps: int, width: int = 16, *, side: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(taps)
    return [torch.randn(2, width, side, side + 1, generator=generator) for _ in range(taps)]


DECODERS: dict[str, nn.Module] = {
    "primus": PrimusDecoder(32, patch_size=4, num_classes=5),
    "fused": FusedDecoder(16, taps=2, patch_size=4, num_classes=5),
    "linear": LinearDecoder(32, patch_size=4, num_classes=5),
}


@pytest.mark.parametrize("name", DECODERS)
def test_logits_lie_at_the_resolution_of_the_image(name: str) -> None:
    assert DECODERS[name](maps(2)).shape == (2, 5, 12, 16)


@pytest.mark.parametrize("name", DECODERS)
def test_every_parameter_learns_and_every_tap_counts(name: str) -> None:
    found = [tensor.requires_grad_() for tensor in maps(2)]
    (DECODERS[name](found) ** 2).sum().backward()
    for parameter in DECODERS[name].parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    assert all(tensor.grad is not None and tensor.grad.abs().max() > 0 for tensor in found)


@pytest.mark.parametrize(
    ("taps", "classes", "decoder", "millions"),
    [(4, 16, "primus", 25.08), (1, 16, "primus", 1.57), (4, 16, "fused", 3.93)],
)
def test_the_sizes_are_the_published_ones(taps: int, classes: int, decoder: str, millions: float) -> None:
    with torch.device("meta"):
        made: nn.Module = (
            PrimusDecoder(taps * 768, patch_size=16, num_classes=classes)
            if decoder == "primus"
            else FusedDecoder(768, taps=taps, patch_size=16, num_classes=classes)
        )
    assert round(sum(parameter.numel() for parameter in made.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["primus", "fused"])
def test_decoding_depth_first_differs_by_rounding_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.models.decoders.ROWS_AT_ONCE", 7)  # 24 patches, 96 pixels after one doubling
    expected = DECODERS[name](maps(2)).detach()
    with torch.no_grad():
        found = DECODERS[name](maps(2))
        turned = DECODERS[name]([tensor.transpose(2, 3).contiguous() for tensor in maps(2)]).transpose(2, 3)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (turned - expected).abs().max() > 1e-2 * expected.abs().max(), "places within a patch would go unnoticed"


def test_the_norm_is_that_of_each_pixel() -> None:
    norm = ChannelNorm(6)
    features = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    normed = norm(features)
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.std(dim=1, correction=0), torch.ones(2, 3, 4), atol=1e-4, rtol=0)
    scaled = features.clone()
    scaled[:, :, 0, 0] *= 7
    torch.testing.assert_close(norm(scaled), normed, atol=1e-4, rtol=1e-4)


def test_the_first_kernels_keep_the_size_of_what_passes() -> None:
    torch.manual_seed(0)
    decoder = PrimusDecoder(256, patch_size=16, num_classes=4)
    assert 0.3 < decoder([torch.randn(1, 256, 4, 4)]).std() < 3
    assert all(
        module.bias is None or not module.bias.any()
        for module in decoder.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )


@pytest.mark.parametrize(("width", "patch_size"), [(48, 6), (20, 8)])
def test_patches_that_cannot_be_doubled_into_are_refused(width: int, patch_size: int) -> None:
    with pytest.raises(UsageError, match="linear decoder"):
        PrimusDecoder(width, patch_size=patch_size, num_classes=2)
