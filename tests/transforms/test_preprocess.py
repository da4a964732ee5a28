"""Preprocessing: bit for bit MONAI's where a published pipeline is asked for; nothing lost where ours is."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CropForeground, Orientation, ScaleIntensityRange, Spacing

from vesalius.errors import InputError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.spec import ModelSpec, VistaArchitecture
from vesalius.transforms.intensity import image_window, not_hounsfield
from vesalius.transforms.preprocess import Preprocessing, body_box, margin_box, prepare

SPEC = ModelSpec(name="test", architecture=VistaArchitecture(width=8, blocks_down=(1, 1)), window_size=(16, 16, 16))
PAPER = Preprocessing(crop="none", clip_first=True, keep_extent=False)
BUNDLE = Preprocessing(crop="foreground", orient_first=False, keep_extent=False)
AFFINES = {
    "RAS": np.diag([0.9, 1.1, 2.0, 1.0]),
    "LPS": np.diag([-0.9, -1.1, 2.0, 1.0]),
    "permuted": np.array([[0, 0, 2.5, 3], [-0.8, 0, 0, 1], [0, 1.1, 0, 5], [0, 0, 0, 1.0]]),
}


def scan(affine: np.ndarray) -> Volume:
    rng = np.random.default_rng(0)
    data = np.full((40, 52, 30), -1000.0, dtype=np.float32)
    data[12:28, 15:40, 9:24] = rng.normal(40, 200, (16, 25, 15))
    return Volume(data[None], Grid(data.shape, affine), "CT")


def by_monai(volume: Volume, steps: Preprocessing) -> MetaTensor:
    image = MetaTensor(torch.from_numpy(volume.data), affine=torch.from_numpy(volume.grid.affine.copy()))
    scale = ScaleIntensityRange(*SPEC.window_hu, 0.0, 1.0, clip=True)
    if steps is PAPER:
        return Spacing([1.5] * 3, mode="bilinear", align_corners=True)(
            Orientation("RAS", labels=None)(scale(image))
        )
    image = Spacing([1.5] * 3, mode="bilinear")(image)
    image = CropForeground(select_fn=lambda x: x > 0, margin=10, allow_smaller=True)(image)
    return Orientation("RAS", labels=None)(scale(image))


@pytest.mark.filterwarnings("ignore")  # MONAI's own deprecations
@pytest.mark.parametrize("steps", [PAPER, BUNDLE], ids=["paper", "bundle"])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_published_pipelines_see_the_image_monai_makes(affine: np.ndarray, steps: Preprocessing) -> None:
    theirs = by_monai(scan(affine), steps)
    ours = prepare(scan(affine), SPEC, steps, box=None, dtype=torch.float32)
    assert tuple(theirs.shape[1:]) == ours.content.shape
    torch.testing.assert_close(ours.image[ours.content.slices], theirs[0].as_tensor(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.grid.cropped(ours.content).affine, theirs.affine.numpy(), atol=1e-9)


@pytest.mark.filterwarnings("ignore")  # MONAI's own deprecations
def test_clipping_after_interpolation_would_be_noticed() -> None:
    theirs = by_monai(scan(AFFINES["RAS"]), PAPER)
    late = Preprocessing(crop="none", clip_first=False, keep_extent=False)
    ours = prepare(scan(AFFINES["RAS"]), SPEC, late, box=None, dtype=torch.float32)
    assert (ours.image[ours.content.slices] - theirs[0].as_tensor()).abs().max() > 1e-3


def test_an_image_of_whole_numbers_is_clipped_first_without_a_copy_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.geometry.resample._CHUNK_VOXELS", 1)  # slabs of one slice
    floats = scan(AFFINES["RAS"])
    volume = Volume(floats.data.round().astype(np.int16), floats.grid, "CT")
    tracemalloc.start()
    prepare(volume, SPEC, PAPER, box=None, dtype=torch.float32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volume.data.nbytes, "arrays of numpy's; as float64 they would take four times as much"


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_the_body_keeps_its_place_in_the_world(affine: np.ndarray) -> None:
    volume = scan(affine)
    box = margin_box(body_box(volume), volume.grid)
    ours = prepare(volume, SPEC, Preprocessing(), box=box, dtype=torch.float32)
    assert ours.grid.axis_codes == "RAS"
    dense = np.argwhere(ours.image.numpy() > 0.25)
    body = np.argwhere(volume.data[0] > -500)
    apart = np.linalg.norm(ours.grid.to_world(dense.mean(0)) - volume.grid.to_world(body.mean(0)))
    assert apart < 0.75


def test_an_image_smaller_than_a_window_is_filled_up_around_its_content() -> None:
    small = Volume(np.full((1, 5, 30, 4), 100, dtype=np.int16), Grid((5, 30, 4), np.diag([1.5, 1.5, 1.5, 1.0])))
    constant = prepare(small, SPEC, Preprocessing(), box=None, dtype=torch.float32)
    replicated = prepare(small, SPEC, Preprocessing(padding="replicate"), box=None, dtype=torch.float32)
    assert tuple(constant.image.shape) == (16, 30, 16)
    assert constant.content.shape == (5, 30, 4)
    assert constant.image[0].max() == 0
    assert replicated.image.min() > 0.5


def test_several_channels_are_refused() -> None:
    two = Volume(np.zeros((2, 4, 4, 4), dtype=np.int16), Grid((4, 4, 4), np.eye(4)))
    with pytest.raises(InputError, match="one channel"):
        prepare(two, SPEC, Preprocessing(), box=None, dtype=torch.float32)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (np.zeros((8, 8, 8)), "every voxel"),
        (np.random.default_rng(0).random((8, 8, 8)), "normalisation"),
        (np.random.default_rng(0).integers(0, 2000, (8, 8, 8)), "negative"),
    ],
)
def test_values_that_cannot_be_hounsfield_units_are_told(data: np.ndarray, word: str) -> None:
    assert word in (not_hounsfield(data) or "")


def test_a_ct_passes_as_hounsfield_units() -> None:
    assert not_hounsfield(scan(AFFINES["RAS"]).data[0]) is None


def test_by_percentiles_the_unit_and_offset_of_an_image_do_not_matter() -> None:
    spec, box = replace(SPEC, normalisation="percentiles"), Box((4, 0, 0), (40, 52, 30))
    image = scan(AFFINES["RAS"])
    scaled = Volume(image.data * 40 + 7000, image.grid, "MR")
    seen, same, by_units = (
        prepare(volume, chosen, Preprocessing(), box=box, dtype=torch.float32).image
        for volume, chosen in ((image, spec), (scaled, spec), (scaled, SPEC))
    )
    torch.testing.assert_close(seen, same, rtol=0, atol=1e-5)
    assert (by_units - seen).abs().max() > 0.5
    low, high = np.percentile(image.data, (0.5, 99.5))  # of the whole, not of the box
    expected = ((image.data[0, 30, 20, 10] - low) / (high - low)).clip(0, 1)
    whole = replace(spec, spacing_mm=image.grid.spacing_mm)
    voxels = prepare(image, whole, Preprocessing(), box=None, dtype=torch.float32).image
    assert float(voxels[30, 20, 10]) == pytest.approx(expected, abs=1e-5)


def test_an_image_without_contrast_has_a_window_all_the_same() -> None:
    spec = replace(SPEC, normalisation="percentiles")
    low, high = image_window(np.full((8, 8, 8), 5.0, np.float32), spec)
    assert low == 5.0 < high
