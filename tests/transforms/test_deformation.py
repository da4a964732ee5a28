"""Deformation: image and labels move together, by millimetres, and left becomes right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vesalius.errors import UsageError
from vesalius.hounsfield import LOWEST_HU
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.deformation import (
    end_early,
    random_bend,
    random_map,
    rename,
    sample,
    window_points,
)

IDENTITY = np.eye(3)
MIRROR = np.diag([-1.0, 1.0, 1.0])


def volume(shape: tuple[int, int, int] = (13, 11, 9)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)


@pytest.mark.parametrize("nearest", [True, False])
def test_a_window_that_is_not_turned_is_cut_out_exactly(nearest: bool) -> None:
    data = volume()
    points = window_points(np.array([6.0, 5.0, 4.0]), IDENTITY, (4, 5, 6))
    window = sample(data, points, nearest=nearest, outside=LOWEST_HU)
    assert np.allclose(window.numpy(), data[5:9, 3:8, 2:8], atol=2e-3)


def test_a_centre_between_voxels_does_not_blur_what_is_kept_sharp() -> None:
    data = volume()
    window = sample(data, window_points(np.array([6.4, 5.2, 4.9]), IDENTITY, (4, 4, 4)), nearest=False, outside=0.0)
    assert np.isin(np.round(window.numpy()), data).all()
    assert np.allclose(window, window.round(), atol=2e-3)


def test_a_mirrored_window_is_the_window_mirrored_along_i() -> None:
    data = volume()
    centre = np.array([6.0, 5.0, 4.0])
    plain = sample(data, window_points(centre, IDENTITY, (6, 4, 5)), nearest=True, outside=0.0)
    mirrored = sample(data, window_points(centre, MIRROR, (6, 4, 5)), nearest=True, outside=0.0)
    assert torch.equal(mirrored, plain.flip(0))
    assert not torch.equal(mirrored, plain)


@pytest.mark.parametrize("nearest", [True, False])
def test_turned_windows_agree_with_scipy_inside_and_beyond_the_scan(nearest: bool) -> None:
    data = ndimage.gaussian_filter(volume().astype(np.float32), 1.0)
    rng = np.random.default_rng(1)
    linear = random_map(Augmentation(keep_sharp=0.0, degrees=40.0), (1.0, 1.5, 3.0), rng)
    for centre in ([6.3, 5.1, 4.2], [0.5, 10.0, 8.0], [-3.0, 5.0, 4.0]):
        points = window_points(np.array(centre), linear, (8, 8, 8))
        ours = sample(data, points, nearest=nearest, outside=-50.0).numpy()
        padded = np.pad(data, 30, constant_values=-50)
        where = points.numpy().transpose(3, 0, 1, 2).astype(np.float64) + 30
        theirs = ndimage.map_coordinates(padded, where, order=0 if nearest else 1, mode="nearest")
        same = np.isclose(ours, theirs, atol=0.3)
        assert same.mean() > (0.99 if nearest else 0.9999)  # a tie may fall to either side


def test_a_volume_one_voxel_thin_is_read_only_where_it_is() -> None:
    data = np.full((6, 1, 6), 7, np.int16)
    points = window_points(np.array([3.0, 0.0, 3.0]), IDENTITY, (3, 3, 3))
    window = sample(data, points, nearest=True, outside=0.0)
    assert window[:, 1].eq(7).all()
    assert window[:, [0, 2]].eq(0).all()


def test_a_window_wholly_beyond_the_scan_is_air() -> None:
    points = window_points(np.array([500.0, 5.0, 4.0]), IDENTITY, (4, 4, 4))
    assert sample(volume(), points, nearest=False, outside=LOWEST_HU).eq(LOWEST_HU).all()


@given(st.integers(0, 10**6))
def test_maps_turn_in_millimetres_and_keep_within_their_ranges(seed: int) -> None:
    config = Augmentation(keep_sharp=0.0, degrees=20.0, scale=(0.8, 1.25), stretch=0.0)
    spacing = np.array([0.7, 1.3, 4.0])
    linear = random_map(config, spacing.tolist(), np.random.default_rng(seed))
    in_mm = np.diag(spacing) @ linear @ np.diag(1 / spacing)
    gram = in_mm.T @ in_mm
    assert np.allclose(gram, gram[0, 0] * np.eye(3), atol=1e-9)  # a rotation and one scale
    assert 0.8 - 1e-9 <= gram[0, 0] ** -0.5 <= 1.25 + 1e-9
    assert np.linalg.det(in_mm) > 0
    angle = np.degrees(np.arccos(np.clip((np.trace(in_mm) / gram[0, 0] ** 0.5 - 1) / 2, -1, 1)))
    assert angle <= 3 * 20.0 + 1e-6


def test_some_windows_are_kept_sharp() -> None:
    rng = np.random.default_rng(0)
    maps = [random_map(Augmentation(keep_sharp=0.3), (1.0, 1.0, 1.0), rng) for _ in range(300)]
    assert 60 < sum(np.array_equal(linear, np.eye(3)) for linear in maps) < 120


def test_names_are_swapped_at_once() -> None:
    labels = torch.tensor([[[0, 3, 4, 9, 255]]], dtype=torch.uint8)
    assert rename(labels, {3: 4, 4: 3}).tolist() == [[[0, 4, 3, 9, 255]]]


def test_a_scan_that_ends_early_is_air_and_unlabelled_from_one_face_on() -> None:
    image, labels = torch.zeros(9, 10, 11), torch.full((9, 10, 11), 5, dtype=torch.uint8)
    rng = np.random.default_rng(0)
    faces = set()
    for _ in range(200):
        cut, cut_labels = end_early(image, labels, Augmentation(cut=1.0), rng)
        gone = cut == LOWEST_HU
        assert torch.equal(gone, cut_labels == 0)
        assert 0 < gone.sum() <= gone.numel() * 2 / 3 + 1e-6
        profile = [gone.select(a, 0).all() or gone.select(a, -1).all() for a in range(3)]
        assert sum(map(bool, profile)) == 1
        faces.add((profile.index(True), bool(gone[0, 0, 0])))
    assert len(faces) == 6
    assert image.eq(0).all()  # what was given is not changed
    assert labels.eq(5).all()
    assert end_early(image, labels, Augmentation(cut=0.0), rng)[0] is image


@pytest.mark.parametrize(
    "wrong",
    [
        {"cut": 1.5},
        {"noise": -0.1},
        {"scale": (1.2, 0.8)},
        {"scale": (0.0, 1.0)},
        {"coarseness": (0.5, 2.0)},
        {"degrees": -1.0},
    ],
)
def test_an_augmentation_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Augmentation(**wrong)  # type: ignore[arg-type]


def test_a_mirrored_window_that_leaves_the_scan_shows_its_voxels_and_nothing_beyond() -> None:
    data = np.random.default_rng(0).integers(-500, 500, (9, 8, 7)).astype(np.int16)
    points = window_points(np.array([2.0, 7.0, 3.0]), np.diag([-1.0, 1.0, 1.0]), (6, 5, 7))
    first = points[0, 0, 0].long().tolist()
    padded = np.pad(data, 10, constant_values=-1024)
    i, j, k = (start + 10 for start in first)
    wanted = padded[i - 5 : i + 1, j : j + 5, k : k + 7][::-1]
    assert (wanted == -1024).any()
    assert np.array_equal(sample(data, points, nearest=False, outside=-1024.0).numpy(), wanted)


def bends(spacing_mm: tuple[float, float, float], size: tuple[int, int, int] = (24, 24, 24)) -> torch.Tensor:
    config = Augmentation(bend=1.0, bend_mm=8.0)
    drawn = [random_bend(config, spacing_mm, size, np.random.default_rng(seed)) for seed in range(40)]
    return torch.stack([bend for bend in drawn if bend is not None])


def test_bending_is_one_in_millimetres_smooth_and_no_wider_than_it_says() -> None:
    bend = bends((1.0, 2.0, 4.0))
    assert bend.shape == (40, 24, 24, 24, 3)
    in_mm = bend * torch.tensor([1.0, 2.0, 4.0])
    deviations = in_mm.flatten(0, 3).std(dim=0)
    assert deviations.max() / deviations.min() < 1.25
    assert 1.5 < float(deviations.mean()) < 8.0
    steps = in_mm.diff(dim=1).abs().mean()
    assert float(steps) < 0.4 * float(in_mm.abs().mean())  # neighbours move together


def test_bending_follows_the_generator_and_happens_as_often_as_it_says() -> None:
    half = Augmentation(bend=0.5)
    drawn = [random_bend(half, (1.0, 1.0, 1.0), (4, 4, 4), np.random.default_rng(seed)) for seed in range(60)]
    assert 15 < sum(bend is not None for bend in drawn) < 45
    first, again = (random_bend(half, (1.0, 1.0, 1.0), (4, 4, 4), np.random.default_rng(1)) for _ in range(2))
    assert (first is None) == (again is None)
    one, two = bends((1.0, 1.0, 1.0))[:2]
    assert not torch.equal(one, two)
    assert all(
        random_bend(Augmentation(), (1.0, 1.0, 1.0), (4, 4, 4), rng) is None for rng in [np.random.default_rng(0)]
    )
