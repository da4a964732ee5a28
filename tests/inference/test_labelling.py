"""Labels from features: equal to the dense computation in every voxel, on any grid, however features arrive."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from other_device import DEVICE, OtherDevice
from vesalius.geometry.boxes import Box
from vesalius.geometry.resample import AxisMap
from vesalius.inference.labelling import LabelMaker, Layer

SHAPE, WIDTH = (24, 18, 21), 6
LABELS = [3, 1, 7, 7, 9, 200]


def smooth_features(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    noise = np.random.default_rng(seed).normal(size=(*shape, WIDTH))
    smooth = gaussian_filter(noise, (2.5, 2.5, 2.5, 0))
    return torch.from_numpy((smooth / smooth.std()).astype(np.float32))


def vectors() -> torch.Tensor:
    return torch.randn(len(LABELS), WIDTH, generator=torch.Generator().manual_seed(1))


def maps_to(shape: tuple[int, int, int], source: tuple[int, int, int] = SHAPE):
    return tuple(AxisMap(np.linspace(-0.4, n - 0.6, m), n) for n, m in zip(source, shape, strict=True))


def make(features: torch.Tensor, cuts: list[int], *, shape=(50, 41, 37), shortcut: bool = True):
    target = np.zeros(shape, dtype=np.uint8)
    device = features.device
    layer = Layer(class_vectors=vectors().to(device), labels=torch.tensor(LABELS, device=device), target=target)
    maker = LabelMaker(maps=maps_to(shape, features.shape[:3]), layers=[layer], shortcut=shortcut)
    for start, stop in itertools.pairwise(cuts):
        maker.feed(features[max(start - 1, 0) : stop])
    return target, maker


def dense_reference(features: torch.Tensor, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate in float64 at every voxel; return labels and the margin by which each won."""
    at = np.meshgrid(
        *[m.positions.clip(0, m.length - 1) for m in maps_to(shape, features.shape[:3])], indexing="ij"
    )
    dense = np.stack([map_coordinates(features[..., c].double().numpy(), at, order=1) for c in range(WIDTH)], -1)
    logits = np.concatenate([np.zeros((*shape, 1)), dense @ vectors().double().numpy().T], axis=-1)
    ordered = np.sort(logits, axis=-1)
    return np.array([0, *LABELS])[logits.argmax(-1)], ordered[..., -1] - ordered[..., -2]


@pytest.mark.parametrize("shape", [(50, 41, 37), (24, 18, 21), (9, 60, 8)])
def test_labels_equal_the_dense_float64_computation(shape: tuple[int, int, int]) -> None:
    features = smooth_features()
    labels, _ = make(features, [0, 24], shape=shape)
    expected, margin = dense_reference(features, shape)
    assert len(np.unique(labels)) >= 5
    assert np.array_equal(labels[margin > 1e-5], expected[margin > 1e-5])
    assert (margin <= 1e-5).mean() < 1e-3


def test_nearest_voxel_labels_would_be_noticed() -> None:
    features = smooth_features()
    labels, _ = make(features, [0, 24])
    coarse, _ = make(features, [0, 24], shape=SHAPE)
    nearest = coarse[np.ix_(*[m.nearest().numpy() for m in maps_to((50, 41, 37))])]
    assert (nearest != labels).mean() > 0.01


def test_the_shortcut_changes_no_voxel() -> None:
    features = smooth_features(3)
    quick, _ = make(features, [0, 24])
    dense, _ = make(features, [0, 24], shortcut=False)
    assert np.array_equal(quick, dense)


def test_ties_at_corners_are_not_decided_by_the_shortcut() -> None:
    features = torch.zeros(4, 4, 4, WIDTH)
    features[..., 0] = 1.0
    pair = torch.zeros(2, WIDTH)
    pair[:, 0] = 1.0
    target = np.zeros((8, 8, 8), dtype=np.uint8)
    layer = Layer(class_vectors=pair, labels=torch.tensor([5, 6]), target=target)
    LabelMaker(maps=maps_to((8, 8, 8), (4, 4, 4)), layers=[layer]).feed(features)
    assert np.unique(target).tolist() in ([5], [6])


def test_a_third_class_may_win_between_two_that_are_written_as_one_label() -> None:
    features = torch.zeros(2, 1, 1, 3)
    features[:, 0, 0] = torch.tensor([[2.0, -2.0, 1.5], [-2.0, 2.0, 1.5]])
    found = {}
    for shortcut in (True, False):
        target = np.zeros((5, 1, 1), dtype=np.uint8)
        layer = Layer(class_vectors=torch.eye(3), labels=torch.tensor([2, 2, 7]), target=target)
        ends = (AxisMap(np.linspace(0, 1, 5), 2), AxisMap(np.zeros(1), 1), AxisMap(np.zeros(1), 1))
        LabelMaker(maps=ends, layers=[layer], shortcut=shortcut).feed(features)
        found[shortcut] = target.ravel().tolist()
    assert found[False] == [2, 7, 7, 7, 2]
    assert found[True] == found[False]


@pytest.mark.parametrize("cuts", [[0, 1, 2, 24], [0, 8, 16, 24], [0, 23, 24], list(range(25))])
def test_blocks_of_any_thickness_give_the_same_labels(cuts: list[int]) -> None:
    features, shape = smooth_features(5, (24, 9, 10)), (50, 20, 17)
    whole, one = make(features, [0, 24], shape=shape)
    parts, many = make(features, cuts, shape=shape)
    assert np.array_equal(whole, parts)
    assert torch.equal(one.confidence[0].voxels, many.confidence[0].voxels)


def test_grids_of_one_voxel_along_an_axis() -> None:
    features = smooth_features(7)[:, :1]
    labels, _ = make(features, [0, 24], shape=(50, 3, 37))
    expected, margin = dense_reference(features, (50, 3, 37))
    assert np.array_equal(labels[margin > 1e-5], expected[margin > 1e-5])


def test_confidence_is_the_mean_probability_of_the_label_s_voxels() -> None:
    features = smooth_features(9)
    _, maker = make(features, [0, 10, 24])
    logits = features @ vectors().T
    best, column = logits.max(dim=-1)
    mine = (torch.tensor(LABELS)[column] == 7) & (best > 0)
    assert maker.confidence[0].mean(7) == pytest.approx(float(torch.sigmoid(best[mine]).mean()), abs=1e-6)
    assert maker.confidence[0].mean(8) is None


@pytest.mark.parametrize("cuts", [[0, 24], [0, 3, 4, 5, 17, 24]])
def test_confidence_leaves_out_what_fills_up_an_image(cuts: list[int]) -> None:
    features, content = smooth_features(9), Box((4, 2, 5), (17, 15, 20))
    maker = LabelMaker(
        maps=maps_to((9, 8, 7)),
        layers=[
            Layer(class_vectors=vectors(), labels=torch.tensor(LABELS), target=np.zeros((9, 8, 7), dtype=np.uint8))
        ],
        content=content,
    )
    for start, stop in itertools.pairwise(cuts):
        maker.feed(features[max(start - 1, 0) : stop])
    best, column = (features[content.slices] @ vectors().T).max(dim=-1)
    mine = (torch.tensor(LABELS)[column] == 7) & (best > 0)
    assert int(maker.confidence[0].voxels[7]) == int(mine.sum()) > 100
    assert maker.confidence[0].mean(7) == pytest.approx(float(torch.sigmoid(best[mine]).mean()), abs=1e-6)


def test_half_precision_features_give_nearly_the_same_labels() -> None:
    features = smooth_features(11)
    full, _ = make(features, [0, 24])
    half, _ = make(features.half(), [0, 24])
    assert (full != half).mean() < 0.002


def test_labels_are_made_on_the_device_of_the_features() -> None:
    features = smooth_features(13, (8, 9, 7))
    here, counted = make(features, [0, 3, 8], shape=(15, 13, 11))
    with OtherDevice(), torch.inference_mode():
        there, other = make(features.to(DEVICE), [0, 3, 8], shape=(15, 13, 11))
    assert len(np.unique(here)) > 3
    assert np.array_equal(here, there)
    assert torch.equal(counted.confidence[0].voxels, other.confidence[0].voxels)
