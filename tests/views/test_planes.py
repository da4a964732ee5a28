"""Slices go where the structures are, and a picture shows each side, letter and colour where it belongs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.views.planes import AXIAL, CORONAL, SAGITTAL, best_indices, picture, ranked, thinned

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("plane", "corner", "row", "column"),
    [
        (AXIAL, (1, 1, 0), 0, 0),  # right, anterior: top left
        (AXIAL, (0, 0, 0), -1, -1),
        (CORONAL, (1, 0, 1), 0, 0),  # right, superior: top left
        (CORONAL, (0, 0, 0), -1, -1),
        (SAGITTAL, (0, 1, 1), 0, 0),  # anterior, superior: top left
        (SAGITTAL, (0, 0, 0), -1, -1),
    ],
)
def test_a_cut_is_in_radiological_convention(plane, corner, row, column):
    shape = (5, 6, 7)
    body = np.zeros(shape)
    body[tuple((n - 1) * c for n, c in zip(shape, corner, strict=True))] = 1
    cut = plane.cut(body, 0)
    assert cut.shape == (shape[plane.axes[1]], shape[plane.axes[0]])
    assert cut[row, column] == 1
    assert cut.sum() == 1


def test_a_cut_is_a_view():
    body = np.zeros((4, 5, 6), dtype=np.int16)
    assert all(np.shares_memory(plane.cut(body, 1), body) for plane in (AXIAL, CORONAL, SAGITTAL))


def test_slices_go_through_the_middle_of_a_ball():
    i, j, k = np.ogrid[:40, :50, :60]
    ball = (((i - 12) ** 2 + (j - 30) ** 2 + (k - 41) ** 2) < 64).astype(np.uint8) * 7
    assert best_indices([ball], [7]) == pytest.approx((12, 30, 41), abs=1)


def test_slices_go_where_most_structures_are():
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[2:5, 2:5, 3:6] = 1  # alone, below
    for label, at in ((2, 5), (3, 12), (4, 20)):  # three on one level
        labels[at : at + 4, at : at + 4, 20:24] = label
    assert 20 <= best_indices([labels], [1, 2, 3, 4])[2] < 24


def test_structures_of_an_overlap_layer_count_and_others_do_not():
    base, tumours = np.zeros((2, 20, 20, 20), dtype=np.uint8)
    base[:, :, 2] = 9  # not asked for
    tumours[4:7, 10:13, 15:18] = 3
    assert best_indices([base, tumours], [3]) == pytest.approx((5, 11, 16), abs=1)


def test_without_structures_the_middle_is_shown():
    assert best_indices([np.zeros((10, 20, 30), dtype=np.uint8)], []) == (5, 10, 15)


@given(st.lists(st.integers(1, 65535), unique=True, max_size=20))
def test_ranks(ids: list[int]):
    labels = np.array([[[0, *ids, 65535]]], dtype=np.uint16)
    expected = [0, *range(1, len(ids) + 1), ids.index(65535) + 1 if 65535 in ids else 0]
    assert ranked(labels, ids).ravel().tolist() == expected


@pytest.mark.parametrize("shape", [(1, 1, 1), (256, 3, 257), (600, 5, 1)])
def test_a_thinned_sample_stays_inside_and_within_256(shape: tuple[int, int, int]):
    labels = np.arange(np.prod(shape)).reshape(shape)
    sample, steps = thinned(labels)
    assert max(sample.shape) <= 256
    last = tuple((n - 1) * step + step // 2 for n, step in zip(sample.shape, steps, strict=True))
    assert labels[last] == sample[-1, -1, -1]


def test_colours_cover_their_structure_and_nothing_else():
    image, labels = np.zeros((20, 30)), np.zeros((20, 30), dtype=np.uint8)
    labels[5:15, 3:10], labels[5:15, 20:27] = 1, 2
    shown = picture(image, [labels], colours={1: RED, 2: BLUE}, window=(-1.0, 1.0), size=(300, 200))
    assert shown.shape == (200, 300, 3)
    assert shown[100, 65, 0] > shown[100, 65, 2] + 80
    assert shown[100, 235, 2] > shown[100, 235, 0] + 80
    assert np.ptp(shown[100, 150].astype(int)) == 0  # between them plain grey


def test_outlines_are_stronger_than_the_inside():
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels[5:15, 5:15] = 1
    shown = picture(np.zeros((20, 20)), [labels], colours={1: RED}, window=(-1.0, 1.0), size=(200, 200)).astype(int)
    redness = shown[100, :, 0] - shown[100, :, 2]
    edge = int(np.flatnonzero(redness)[0])
    assert redness[edge] > 1.5 * redness[100]
    assert edge == pytest.approx(50, abs=3)


def test_a_lone_voxel_is_not_smoothed_away():
    labels = np.zeros((21, 21), dtype=np.uint8)
    labels[10, 10] = 1
    shown = picture(np.zeros((21, 21)), [labels], colours={1: RED}, window=(-1.0, 1.0), size=(210, 210)).astype(int)
    assert (shown[..., 0] > shown[..., 2]).sum() > 9


def test_overlaps_are_painted_over_the_base():
    base = np.full((20, 20), 1, dtype=np.uint8)
    tumour = np.zeros((20, 20), dtype=np.uint8)
    tumour[8:12, 8:12] = 2
    shown = picture(
        np.zeros((20, 20)), [base, tumour], colours={1: RED, 2: BLUE}, window=(-1.0, 1.0), size=(200, 200)
    )
    assert shown[100, 100, 2] > shown[100, 100, 0]
    assert shown[20, 20, 0] > shown[20, 20, 2]


def test_the_window_clips_and_odd_values_are_shown_dark():
    image = np.array([[-500.0, -160.0, 40.0, 240.0, 3000.0, np.nan]])
    none = np.zeros((1, 6), dtype=np.uint8)
    shown = picture(image, [none], colours={}, window=(-160.0, 240.0), size=(6, 1))[0, :, 0]
    assert shown.tolist() == [0, 0, 127, 255, 255, 0]
