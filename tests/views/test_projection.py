"""The projection shows every structure, what is in front first."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from vesalius.views.projection import coronal_projection

RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_right_is_left_and_the_head_is_on_top():
    labels = np.zeros((10, 8, 12), dtype=np.uint8)
    labels[9, 3, 11] = 1
    colour, absorbed = coronal_projection([labels], colours={1: RED}, depth_step_mm=2.0)
    assert colour.shape == (12, 10, 3)
    assert absorbed[0, 0] > 0.2
    assert colour[0, 0, 0] > 50
    assert absorbed.ravel()[1:].max() == 0


def test_what_is_in_front_is_seen_more():
    labels = np.zeros((3, 10, 3), dtype=np.uint8)
    labels[:, 6:9, :], labels[:, 1:4, :] = 1, 2  # red in front: anterior is +j
    colour, _ = coronal_projection([labels], colours={1: RED, 2: BLUE}, depth_step_mm=3.0)
    assert colour[1, 1, 0] > 2 * colour[1, 1, 2] > 0
    behind, _ = coronal_projection([labels[:, ::-1]], colours={1: RED, 2: BLUE}, depth_step_mm=3.0)
    assert behind[1, 1, 2] > 2 * behind[1, 1, 0] > 0


def test_thicker_absorbs_more_and_never_all_the_light():
    labels = np.zeros((2, 60, 1), dtype=np.uint8)
    labels[0], labels[1, 20:25] = 1, 1
    _, absorbed = coronal_projection([labels], colours={1: RED}, depth_step_mm=3.0)
    thick, thin = absorbed[0, 1], absorbed[0, 0]
    assert 1 >= thick > thin > 0.3


def test_thickness_counts_in_millimetres_not_in_voxels():
    def absorbed(repeats: int) -> float:
        labels = np.repeat(np.ones((1, 10, 1), dtype=np.uint8), repeats, axis=1)
        return float(coronal_projection([labels], colours={1: RED}, depth_step_mm=4.0 / repeats)[1][0, 0])

    assert absorbed(4) == pytest.approx(absorbed(1), abs=0.05)


def test_overlaps_cover_the_base_and_labels_without_colour_are_clear():
    base, tumours = np.full((3, 4, 3), 1, dtype=np.uint8), np.zeros((3, 4, 3), dtype=np.uint8)
    tumours[1] = 2
    colour, _ = coronal_projection([base, tumours], colours={1: RED, 2: BLUE}, depth_step_mm=5.0)
    assert colour[1, 1, 2] > colour[1, 1, 0] == 0
    _, absorbed = coronal_projection([base], colours={9: RED}, depth_step_mm=5.0)
    assert absorbed.max() == 0


def test_nothing_found_is_dark():
    colour, absorbed = coronal_projection([np.zeros((4, 5, 6), dtype=np.uint8)], colours={}, depth_step_mm=1.0)
    assert colour.shape == (6, 4, 3)
    assert colour.max() == absorbed.max() == 0
