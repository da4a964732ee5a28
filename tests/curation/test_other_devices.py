"""An encoder beside the processor is shown a scan there; its features come back to where the scan is."""

from __future__ import annotations

import pytest
import torch

from curation.encoders import SAM, SPECS
from other_device import DEVICE, Elsewhere, OtherDevice
from vesalius.curation.dense_features import dense_features
from vesalius.models.build import build
from vesalius.spec import ModelSpec


@pytest.mark.parametrize("spec", [SPECS["slices"], SPECS["volumes"], SAM], ids=["slices", "volumes", "SAM"])
def test_dense_features_are_those_of_the_processor(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    network = build(spec.architecture).eval()
    scan = torch.randn(10, 12, 16, generator=torch.Generator().manual_seed(1)) * 300
    here = dense_features(network, spec, scan, spacing_mm=2.0, channels=3)
    with OtherDevice():
        there = dense_features(network.to(DEVICE), spec, scan, spacing_mm=2.0, channels=3)
    for one, other in zip(here, there, strict=True):
        assert not isinstance(other.data, Elsewhere)
        torch.testing.assert_close(one.data, other.data, atol=2e-2, rtol=1e-2)
