"""A slice is known again after resampling, scaling and windowing; another person's slice is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from curation.scans import phantom
from vesalius.data.likeness import ALIKE, Gallery, likeness, pictures_in_windows, pictures_of


def slices(seed: int) -> np.ndarray:
    volume, _ = phantom(seed)
    return np.moveaxis(volume.reoriented("PLS").data[0], 2, 0)[::2]


def gallery(seed: int) -> Gallery:
    seen = slices(seed)
    windows = pictures_in_windows(seen)
    return Gallery.of(["kept/aside"] * len(seen) * len(windows), list(range(len(seen))) * len(windows), windows)


def resampled(seen: np.ndarray, factor: float) -> np.ndarray:
    size = tuple(round(side * factor) for side in seen.shape[1:])
    image = torch.from_numpy(seen.astype(np.float32))[:, None]
    return functional.interpolate(image, size=size, mode="bilinear", antialias=True)[:, 0].numpy()


def windowed(seen: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.round((np.clip(seen, low, high) - low) / (high - low) * 255)


def cropped(seen: np.ndarray, margin: int) -> np.ndarray:
    rows, columns = (np.flatnonzero((seen > -500).any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return seen[:, rows[0] - margin : rows[-1] + 1 + margin, columns[0] - margin : columns[-1] + 1 + margin]


COPIES = {
    "as it is": lambda seen: seen,
    "finer": lambda seen: resampled(seen, 1.6),
    "coarser": lambda seen: resampled(seen, 0.75),
    "soft tissue": lambda seen: windowed(seen, -160, 240),
    "coarser, in a window of its own": lambda seen: windowed(resampled(seen, 0.8), -120, 280),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_named_whatever_was_done_to_it(change) -> None:
    for number, match in enumerate(gallery(1).nearest(pictures_of(change(slices(1))))):
        assert match is not None
        assert match.likeness > ALIKE, match
        assert match.case == "kept/aside"
        assert abs(match.number - number) <= 1  # neighbours look alike, and are of the same person


def test_a_crop_to_the_body_is_nearer_than_another_person() -> None:
    crop, other = (gallery(1).nearest(pictures_of(one)) for one in (cropped(slices(1), 2), slices(2)))
    nearest = [max(match.likeness for match in matches if match) for matches in (crop, other)]
    assert nearest[0] > nearest[1] + 0.05


def test_another_person_is_not_taken_for_a_copy() -> None:
    found = [match.likeness for match in gallery(1).nearest(pictures_of(slices(2))) if match]
    assert max(found) < ALIKE


def test_pictures_without_a_body_are_like_nothing() -> None:
    air = np.full((1, 40, 40), -1000.0)
    noise = air + np.random.default_rng(0).normal(0, 10, air.shape)
    for match in (*gallery(1).nearest(pictures_of(air)), *gallery(1).nearest(pictures_of(noise))):
        assert match is None or match.likeness < 0.5


def test_an_empty_gallery_knows_nothing() -> None:
    assert Gallery.of([], [], []).nearest(pictures_of(slices(1)[:1])) == [None]


def test_likeness_is_the_share_of_variance_that_lines_in_steps_explain() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, 2304).astype(np.uint8)
    inside = np.ones((1, 2304), bool)
    noise = rng.integers(0, 256, (1, 2304)).astype(np.uint8)
    assert likeness(one, inside[0], (255 - one)[None], inside)[0] == pytest.approx(1, abs=1e-3)
    assert likeness(one, inside[0], noise, inside)[0] == 0  # no credit for what so many numbers explain of noise
    half = (one[None] // 2 + noise // 2).astype(np.uint8)
    assert likeness(one, inside[0], half, inside)[0] == pytest.approx(0.48, abs=0.05)
    assert likeness(one, inside[0], (255 - one)[None], np.zeros_like(inside))[0] == 0
