"""Frozen encoders beside the processor answer from there, to where the images are; so does a published protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.test_frozen_features import SLICES, VOLUMES, scan
from evaluation.test_window_protocols import ANY, SMALL, case
from interactive.small_session import segmenter
from other_device import DEVICE, Elsewhere, OtherDevice
from vesalius.evaluation.frozen_features import AnyEncoder, SliceEncoder, VolumeEncoder
from vesalius.evaluation.window_protocols import evaluate_by_windows
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


def test_a_published_protocol_asks_by_name_and_by_clicks_there() -> None:
    one, found = case(SMALL, liver=np.s_[2:7, 2:7, 2:7]), []
    for is_elsewhere in (False, True):
        model = segmenter()
        with OtherDevice():
            if is_elsewhere:
                model.network.to(DEVICE)
            found.append(evaluate_by_windows(model, [one], "oracle", how=ANY).scores[0].dice)
    assert found[0] > 0
    assert found[1] == pytest.approx(found[0], abs=0.01)
