"""Hounsfield units as each network sees them; MedDINOv3's as its published demo shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.checkpoints.catalog import FLEXICT_SPEC, MEDDINOV3_SPEC, VISTA3D_SPEC
from vesalius.transforms.intensity import normalise_hu_, slice_moments

DEMO_SLICE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "meddinov3_demo_slice.npy"


def some_hu() -> torch.Tensor:
    return torch.tensor([-3000.0, -1000.0, 0.0, 65.1084213256836, 1000.0, 3000.0]).reshape(2, 3, 1)


def test_meddinov3_sees_what_its_published_demo_shows() -> None:
    if not DEMO_SLICE.is_file():
        pytest.skip(f"no demo slice at {DEMO_SLICE}")
    seen = normalise_hu_(torch.from_numpy(np.load(DEMO_SLICE))[:, :, None], MEDDINOV3_SPEC)[:, :, 0]
    enlarged = torch.nn.functional.interpolate(
        seen[None, None].repeat(1, 3, 1, 1), size=(2048, 2048), mode="bilinear", antialias=True
    )
    # The output stored in the demo: -5.9832 to 5.1434.
    assert (round(enlarged.min().item(), 4), round(enlarged.max().item(), 4)) == (-5.9832, 5.1434)


def test_fixed_constants_are_applied_after_clipping() -> None:
    seen = normalise_hu_(some_hu(), MEDDINOV3_SPEC).flatten()
    assert seen[0] == seen[1]
    assert seen[4] == seen[5]
    assert abs(seen[3].item()) < 1e-6
    assert abs((seen[4] - seen[2]).item() - 1000 / 178.01663208007812) < 1e-5


def test_each_slice_has_its_own_mean_and_deviation() -> None:
    volume = 300 * torch.randn(8, 9, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor(
        [0.0, 50.0, -400.0]
    )
    volume[..., 1] = 20.0  # a slice of one value is no slice of infinities
    seen = normalise_hu_(volume, FLEXICT_SPEC)
    torch.testing.assert_close(seen.mean(dim=(0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(dim=(0, 1), correction=0), torch.tensor([1.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_parts_of_slices_are_seen_as_in_the_whole_slices() -> None:
    volume = 300 * torch.randn(8, 9, 3, generator=torch.Generator().manual_seed(0))
    seen, moments = normalise_hu_(volume.clone(), FLEXICT_SPEC), slice_moments(volume, FLEXICT_SPEC.window_hu)
    part = normalise_hu_(volume[2:5, 3:7].clone(), FLEXICT_SPEC, moments=moments)
    torch.testing.assert_close(part, seen[2:5, 3:7])


def test_a_window_becomes_0_to_1_and_everything_happens_in_place() -> None:
    volume = some_hu()
    seen = normalise_hu_(volume, replace(VISTA3D_SPEC, window_hu=(-1000.0, 1000.0)))
    assert seen.data_ptr() == volume.data_ptr()
    torch.testing.assert_close(seen.flatten(), torch.tensor([0.0, 0.0, 0.5, 0.53255, 1.0, 1.0]), atol=1e-5, rtol=0)
