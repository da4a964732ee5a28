"""Frozen encoders beside the processor answer from there, to where the images are; so does a published protocol."""

from __future__ import annotations

import pytest
import torch

from evaluation.test_frozen_features import SLICES, VOLUMES, scan
from interactive.small_session import segmenter
from other_device import DEVICE, Elsewhere, OtherDevice
from vesalius.evaluation.frozen_features import AnyEncoder, SliceEncoder, VolumeEncoder
from vesalius.evaluation.window_protocols import _Window
from vesalius.models.build import build
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import ModelSpec


def encoder_of(spec: ModelSpec) -> AnyEncoder:
    torch.manual_seed(0)
    network = build(spec.architecture).eval()
    if isinstance(network, Vista3D):
        return VolumeEncoder(network.encoder, spec)
    assert isinstance(network, Vit)
    return SliceEncoder(network, spec, (0, 1))


@pytest.mark.parametrize("spec", [SLICES, VOLUMES], ids=["slices", "volumes"])
def test_frozen_features_are_those_of_the_processor(spec: ModelSpec) -> None:
    images, encoder = torch.rand(2, 16, 20, generator=torch.Generator().manual_seed(1)) * 300, encoder_of(spec)
    here = encoder.of_slices(scan(), [1, 10]), encoder.of_images(images)
    with OtherDevice():
        encoder.network.to(DEVICE)
        there = encoder.of_slices(scan(), [1, 10]), encoder.of_images(images)
    for one, other in zip(here, there, strict=True):
        assert not isinstance(other, Elsewhere)
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_a_window_of_a_published_protocol_is_asked_for_classes_there() -> None:
    image, model = torch.rand(20, 16, 18, generator=torch.Generator().manual_seed(1)), segmenter()
    start, size = (4, 0, 2), model.spec.window_size
    here = _Window(model.network, image, start, size).automatic([1, 2])
    with OtherDevice():
        there = _Window(model.network.to(DEVICE), image, start, size).automatic([1, 2])
    assert not isinstance(there, Elsewhere)
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)
