"""Dense features lie where the scan lies, whatever the encoder looks along, and are reduced in one basis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from curation.encoders import SPECS
from vesalius.curation.dense_features import FeatureMap, Reduction, dense_features
from vesalius.models.build import build
from vesalius.spec import ModelSpec, PromptedVitArchitecture

BLOB = (slice(4, 8), slice(16, 20), slice(10, 14))


def blob_scan() -> torch.Tensor:
    scan = torch.full((22, 26, 18), -100.0)
    scan[BLOB] = 900
    return scan


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_what_stands_out_in_the_scan_stands_out_there_in_every_map(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    network = build(spec.architecture).eval()
    maps = dense_features(network, spec, blob_scan(), spacing_mm=2.0, channels=6)
    assert len(maps) == (1 if spec.name == "vista" else 3)
    for one in maps:
        assert one.data.dtype == torch.float16
        found = one.within((22, 26, 18), 0)
        unlike = np.abs(found - np.median(found, axis=(1, 2, 3), keepdims=True)).sum(axis=0)
        at = np.unravel_index(unlike.argmax(), unlike.shape)
        assert all(one.start - 3 <= place < one.stop + 3 for place, one in zip(at, BLOB, strict=True)), at


def test_an_encoder_of_volumes_sees_the_voxels_and_axes_that_it_learnt_with() -> None:
    torch.manual_seed(0)
    fine = SPECS["volumes"]
    network = build(fine.architecture).eval()
    learnt = torch.randn(10, 12, 16) * 300  # lies as the spec says: along left, posterior, superior
    expected = dense_features(network, fine, learnt, spacing_mm=2.0, channels=4)[0]
    scan = learnt.permute(1, 0, 2).flip(0, 1).repeat_interleave(2, 0).repeat_interleave(3, 1)
    spec = replace(fine, spacing_mm=(6.0, 4.0, 2.0), orientation="PLS")
    found = dense_features(network, spec, scan, spacing_mm=2.0, channels=4)[0]
    assert found.step == (4.0, 6.0, 2.0)
    torch.testing.assert_close(found.data, expected.data.permute(0, 2, 1, 3).flip(1, 2), atol=2e-2, rtol=1e-2)


def test_heads_for_prompts_change_nothing_of_what_the_backbone_says() -> None:
    backbone = replace(SPECS["slices"], normalisation="fixed", mean_std_hu=(-800.0, 100.0))
    architecture = PromptedVitArchitecture(
        encoder=backbone.architecture, taps=(0,), mean_std=(0.1, 0.05), width=4, num_embeddings=2, point_heads=1
    )
    spec = replace(SPECS["volumes"], architecture=architecture)
    torch.manual_seed(0)
    prompted = build(architecture).eval()
    expected = dense_features(prompted.encoder.encoder, backbone, blob_scan(), spacing_mm=2.0, channels=6)
    found = dense_features(prompted, spec, blob_scan(), spacing_mm=2.0, channels=6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.data, other.data, atol=5e-3, rtol=1e-2)


def test_a_map_is_interpolated_where_its_voxels_lie_and_a_part_equals_the_whole() -> None:
    data = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 3, 5).half()
    one = FeatureMap(data, (2.0, 2.0, 2.0))
    whole = one.within((8, 6, 10), 0)
    assert whole[0, :, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert np.array_equal(one.within((8, 6, 3), 4), whole[..., 4:7])


def test_components_keep_the_variance_and_have_one_scale() -> None:
    torch.manual_seed(0)
    plane = torch.randn(500, 2) * torch.tensor([5.0, 1.0])
    samples = plane @ torch.linalg.qr(torch.randn(7, 7))[0][:2] + 3
    reduction = Reduction.fit(samples, 2)
    found = reduction.apply(samples.T).float()
    assert found.shape == (2, 500)
    assert found.var(dim=1).sum() == pytest.approx(2, abs=0.02)
    assert found[0].var() > 10 * found[1].var()
    assert found.mean(dim=1).abs().max() < 0.01
    assert Reduction.fit(samples, 99).basis.shape == (7, 7)
