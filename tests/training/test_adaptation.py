"""Adaptation: what lies near stays, what lies far changes, and each change is said with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vesalius.data.fingerprint import ClassFingerprint, Fingerprint, Intensity, Range
from vesalius.errors import UsageError
from vesalius.models.build import build
from vesalius.models.prompted_vit import PromptedVit
from vesalius.spec import ModelSpec, PromptedVitArchitecture, VistaArchitecture, VitArchitecture
from vesalius.training.adaptation import adapted, limited_to
from vesalius.transforms.intensity import normalise_hu_

SPEC = ModelSpec(
    name="ct",
    architecture=VistaArchitecture(width=8, blocks_down=(1, 1, 1), num_embeddings=8, last_supported=7),
    regions=("abdomen",),
    spacing_mm=(4.0, 4.0, 3.0),
    spacing_range_mm=(0.5, 5.5),
    window_hu=(-1000.0, 600.0),
    window_size=(64, 64, 64),
    vocabulary=((1, "liver"),),
)
INSIDE = Intensity(low=-50.0, median=60.0, high=180.0, mean=60.0, sd=30.0)
OVERALL = Intensity(low=-1000.0, median=-200.0, high=300.0, mean=-300.0, sd=300.0)


def same(value: float) -> Range:
    return Range(min=value, median=value, max=value)


def found(
    *,
    modality: str = "CT",
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 2.0),
    shape: tuple[int, int, int] = (512, 512, 200),
    volume_ml: float = 1500.0,
    foreground: Intensity | None = INSIDE,
    intensity: Intensity = OVERALL,
) -> Fingerprint:
    i, j, k = (same(mm) for mm in spacing_mm)
    extent = tuple(same(mm * n) for mm, n in zip(spacing_mm, shape, strict=True))
    entry = ClassFingerprint(name="it", cases=3, volume_ml=same(volume_ml), intensity=INSIDE)
    return Fingerprint(
        list="some", modality=modality, cases=3, labelled=3, spacing_mm=(i, j, k),
        shape=tuple(same(float(n)) for n in shape), extent_mm=extent,
        intensity=intensity, foreground=foreground, classes={1: entry},
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_data_set_like_the_model_s_changes_nothing() -> None:
    assert adapted(SPEC, found()) == (SPEC, ())


def test_small_crops_of_mr_change_modality_intensities_voxels_and_windows_and_say_why() -> None:
    hippocampus = found(modality="MR", spacing_mm=(1.0, 1.0, 1.0), shape=(35, 50, 36), volume_ml=1.6)
    spec, changes = adapted(SPEC, hippocampus)
    assert (spec.modality, spec.normalisation, spec.regions) == ("MR", "percentiles", ())
    assert (spec.spacing_mm, spec.window_size) == ((1.0, 1.0, 1.0), (36, 52, 36))
    assert [change.what for change in changes] == ["modality", "intensities", "voxels", "windows"]
    assert [change.is_far for change in changes] == [True, True, True, False]
    assert str(changes[2]).startswith("voxels: 4 x 4 x 3 mm -> 1 x 1 x 1 mm (")
    assert adapted(spec, hippocampus) == (spec, ())


def test_a_small_structure_in_a_large_scan_gets_finer_voxels_but_no_finer_than_the_images() -> None:
    spec, (change,) = adapted(SPEC, found(volume_ml=6.0, spacing_mm=(0.8, 0.8, 1.0)))
    voxels = 6000 / (spec.spacing_mm[0] * spec.spacing_mm[1] * spec.spacing_mm[2])
    assert voxels == pytest.approx(1000, rel=0.03)
    assert "it has only 125 voxels" in change.why
    tiny, _ = adapted(SPEC, found(volume_ml=0.05))
    assert tiny.spacing_mm == (0.8, 0.8, 2.0)


def test_axes_of_the_spec_s_orientation_get_their_own_spacing() -> None:
    turned = replace(SPEC, orientation="SPL", spacing_mm=(3.0, 4.0, 4.0))
    spec, _ = adapted(turned, found(volume_ml=0.05, spacing_mm=(0.7, 0.9, 2.0)))
    assert spec.spacing_mm == (2.0, 0.9, 0.7)


def test_a_window_that_leaves_structures_out_is_widened_and_one_of_no_use_replaced() -> None:
    bone = Intensity(low=100.0, median=900.0, high=2000.0, mean=900.0, sd=300.0)
    assert adapted(SPEC, found(foreground=bone))[0].window_hu == (-1000.0, 2190.0)
    metal = Intensity(low=1000.0, median=1500.0, high=2000.0, mean=1500.0, sd=100.0)
    assert adapted(SPEC, found(foreground=metal))[0].window_hu == (900.0, 2100.0)
    assert adapted(SPEC, found(foreground=None))[0].window_hu == SPEC.window_hu


def test_in_a_wider_window_a_transformer_sees_tissue_as_it_did_and_in_another_the_same_range() -> None:
    backbone = VitArchitecture(in_channels=1, patch_size=8, width=16, depth=1, heads=2)
    vit = PromptedVitArchitecture(encoder=backbone, taps=(0,), width=4, mean_std=(0.4, 0.25))
    spec = replace(SPEC, architecture=vit)
    bone = Intensity(low=100.0, median=900.0, high=2000.0, mean=900.0, sd=300.0)
    tissue = torch.tensor([-900.0, -50.0, 60.0, 590.0]).expand(8, 8, 4)
    widened, _ = adapted(spec, found(foreground=bone))
    assert widened.window_hu == (-1000.0, 2190.0)
    assert torch.allclose(seen(widened, tissue), seen(spec, tissue), atol=1e-5)
    stayed = replace(widened, architecture=vit)
    assert not torch.allclose(seen(stayed, tissue), seen(spec, tissue), atol=0.1), "the mean matters"
    metal = Intensity(low=1000.0, median=1500.0, high=2000.0, mean=1500.0, sd=100.0)
    replaced, _ = adapted(spec, found(foreground=metal))
    ends = torch.tensor(replaced.window_hu).expand(8, 8, 2)
    assert torch.allclose(seen(replaced, ends), seen(spec, torch.tensor(spec.window_hu).expand(8, 8, 2)))


def seen(spec: ModelSpec, values_hu: Tensor) -> Tensor:
    """Return what reaches the encoder of a promptable ViT."""
    network = build(spec.vista)
    assert isinstance(network, PromptedVit)
    images: list[Tensor] = []
    network.encoder.encoder.register_forward_pre_hook(lambda _module, inputs: images.append(inputs[0]))
    slices = normalise_hu_(values_hu.clone(), spec).permute(2, 0, 1)[:, None]
    network.slice_tokens(slices)
    return images[0]


def test_reach_and_pull_of_clicks_stay_with_the_images_they_were_measured_on() -> None:
    spec = replace(SPEC, click_reach_mm=15.0, click_pull=8.0)
    near, changes = adapted(spec, found(spacing_mm=(0.4, 0.4, 2.0)))
    assert changes, "of windows, and of the voxels that an image may have"
    assert (near.click_reach_mm, near.click_pull) == (15.0, 8.0)
    bone = Intensity(low=100.0, median=900.0, high=2000.0, mean=900.0, sd=300.0)
    for far in (found(volume_ml=0.05), found(foreground=bone), found(modality="MR")):
        moved, changes = adapted(spec, far)
        assert (moved.click_reach_mm, moved.click_pull) == (None, None)
        assert str(changes[-1]).startswith("clicks: reach 15 mm, pull 8 -> as published (")


def test_hounsfield_units_come_back_for_ct() -> None:
    mr = replace(SPEC, modality="MR", normalisation="percentiles")
    spec, changes = adapted(mr, found())
    assert (spec.modality, spec.normalisation) == ("CT", "window")
    assert [change.what for change in changes] == ["modality", "intensities"]


def test_what_made_the_images_is_asked_where_the_numbers_do_not_say() -> None:
    positive = Intensity(low=3.0, median=400.0, high=900.0, mean=400.0, sd=100.0)
    with pytest.raises(UsageError, match="--modality MR"):
        adapted(SPEC, found(modality="unknown", intensity=positive))
    assert adapted(SPEC, found(modality="unknown"))[1] == ()
    mr = replace(SPEC, modality="MR", normalisation="percentiles")
    assert adapted(mr, found(modality="unknown", intensity=positive))[0].modality == "MR"


def test_the_spec_accepts_the_images_it_was_made_from() -> None:
    spec, (change,) = adapted(SPEC, found(spacing_mm=(0.2, 0.2, 8.0), shape=(2000, 2000, 50)))
    low, high = spec.spacing_range_mm
    assert low < 0.2
    assert high > 8.0
    assert change.what == "voxels of an image"


def test_windows_are_those_of_the_training() -> None:
    assert limited_to(SPEC, (64, 64, 64)) == (SPEC, ())
    smaller, (change,) = limited_to(SPEC, (48, 48, 48))
    assert smaller.window_size == (48, 48, 48)
    assert "64 x 64 x 64 voxels -> 48 x 48 x 48 voxels" in str(change)
