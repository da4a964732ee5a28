"""Dense features lie where the scan lies, whatever the encoder looks along, and are reduced in one basis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from curation.encoders import SAM, SPECS
from vesalius.curation import dense_features as room
from vesalius.curation.dense_features import FeatureMap, Reduction, dense_features
from vesalius.models.build import build
from vesalius.models.sam import Sam
from vesalius.models.vit import Vit
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


def shown_to_sam(network: Sam, scan_hu: torch.Tensor, rows: int, columns: int, *, step: int) -> torch.Tensor:
    """Return SAM's features of all slices along one axis, as the scan lies, a cell for each ``step`` voxels.

    Args:
        network: Of images of 64 x 64 pixels, whose cells are two pixels wide.
        scan_hu: Of 32 voxels along its longest sides.
        rows: The axis that rows run against.
        columns: The axis that columns run against.
        step: Divides the sides.
    """
    (axis,) = {0, 1, 2} - {rows, columns}
    seen = scan_hu.permute(axis, rows, columns).flip(1, 2)[:, None]
    size = [2 * side for side in seen.shape[2:]]
    square = torch.zeros(len(seen), 1, 64, 64)
    grey = (seen.clamp(-1000, 1000) + 1000) / 2000
    square[:, :, : size[0], : size[1]] = functional.interpolate(grey, size=size, mode="bilinear")
    cells = network(square)[:, :, : size[0] // 2, : size[1] // 2]
    coarse = [side // 2 // step for side in size]
    cells = functional.interpolate(cells, size=coarse, mode="bilinear", antialias=True).flip(2, 3)
    lies = [(axis, rows, columns).index(place) for place in range(3)]
    return cells.transpose(0, 1).permute(0, *(1 + place for place in lies))


@pytest.mark.parametrize("step", [1, 2])
@torch.no_grad()
def test_cells_lie_as_far_apart_as_in_sams_own_features_along_three_axes(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As VISTA3D has them: one basis turns all channels, and scales them by one number."""
    monkeypatch.setattr(room, "_SAM_STEP", step)
    torch.manual_seed(0)
    network = build(SAM.architecture).eval()
    scan = torch.randn(32, 32, 16) * 500
    axes = ((1, 0), (2, 0), (2, 1))
    expected = [shown_to_sam(network, scan, *some, step=step) for some in axes]
    maps = dense_features(network, SAM, scan, spacing_mm=2.0, channels=32)
    assert [one.data.shape for one in maps] == [one.shape for one in expected]
    cells = sum(one[0].numel() for one in expected)
    some = torch.randperm(cells, generator=torch.Generator().manual_seed(0))[:150]
    of_ours, of_sam = (
        torch.cat([one.float().flatten(1) for one in every], dim=1).T[some]
        for every in ([one.data for one in maps], expected)
    )
    apart = torch.pdist(of_ours) / torch.pdist(of_sam)
    assert apart.std() / apart.mean() < 5e-3


@pytest.mark.parametrize("shape", [(22, 26, 18), (7, 130, 3)])
def test_what_is_kept_of_sam_is_no_finer_than_two_voxels_and_covers_the_scan(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = build(SAM.architecture).eval()
    maps = dense_features(network, SAM, torch.zeros(shape), spacing_mm=1.0, channels=6)
    for one, along in zip(maps, (2, 1, 0), strict=True):
        assert one.step[along] == 1
        for axis in {0, 1, 2} - {along}:
            cells = one.data.shape[1 + axis]
            assert one.step[axis] == shape[axis] / cells
            assert one.step[axis] >= 2


def test_a_smaller_window_shows_sam_smaller_slices() -> None:
    spec = replace(SAM, window_size=(32, 32, 1))
    torch.manual_seed(0)
    network = build(spec.architecture).eval()
    seen: list[tuple[int, ...]] = []
    network.encoder.register_forward_pre_hook(lambda _module, given: seen.append(tuple(given[0].shape)))
    maps = dense_features(network, spec, blob_scan(), spacing_mm=2.0, channels=4)
    assert {shape[2:] for shape in seen} == {(32, 32)}
    assert maps[0].data.shape == (4, 11, 13, 18)


@pytest.mark.parametrize(("spec", "at_once"), [(SAM, 1), (SPECS["slices"], 4)], ids=["SAM", "slices"])
def test_every_slice_is_shown_once_and_to_sam_alone(spec: ModelSpec, at_once: int) -> None:
    torch.manual_seed(0)
    network = build(spec.architecture).eval()
    assert isinstance(network, Sam | Vit)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    maps = dense_features(network, spec, blob_scan(), spacing_mm=2.0, channels=4)
    assert [one.data.shape[axis] for one, axis in zip(maps, (3, 2, 1), strict=True)] == [18, 26, 22]
    assert sum(seen) == 18 + 26 + 22
    assert max(seen) == at_once


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
