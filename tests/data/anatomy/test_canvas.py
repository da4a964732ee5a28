"""Canvas, capsules: windows that miss nothing, paint that covers by the share of a pixel, exact tube distances."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from vesalius.data.anatomy.canvas import LABEL_IDS, Canvas, Profile
from vesalius.data.anatomy.capsules import Capsules, tube


def flat_canvas(z: float = 0.0, *, spacing: float = 1.0, size: int = 81, bend: float = 0.0) -> Canvas:
    axis = ((np.arange(size) - (size - 1) / 2) * spacing).astype(np.float32)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    blank = np.zeros_like(x)
    x = x + np.float32(bend) * np.sin(y / 9) * np.cos(x / 7)
    z_plane = np.full_like(x, z) + np.float32(bend) * np.cos(x / 11)
    return Canvas(
        x.astype(np.float32), y, z_plane.astype(np.float32), edge_mm=1.0, bump=blank, grain=blank, mottle=blank,
        branches=(blank, blank),
    )  # fmt: skip


@pytest.mark.parametrize("bend", [0.0, 3.0])
def test_a_window_misses_no_pixel_of_its_box(bend):
    canvas = flat_canvas(bend=bend)
    low, high = (-7.0, 3.0, -50.0), (12.0, 22.0, 50.0)
    window = canvas.window(low, high)
    inside = (canvas.x >= low[0]) & (canvas.x <= high[0]) & (canvas.y >= low[1]) & (canvas.y <= high[1])
    caught = np.zeros_like(inside)
    caught[window] = True
    assert (caught | ~inside).all()
    assert caught.sum() < 0.5 * caught.size
    assert canvas.window((-7, 3, 10), (12, 22, 50)) is None
    assert canvas.window((100, 3, -10), (120, 22, 50)) is None


def test_paint_covers_the_share_of_a_pixel_and_labels_its_centre():
    canvas = flat_canvas()
    window = canvas.window((-50, -50, -1), (50, 50, 1))
    canvas.paint(window, canvas.x[window] - np.float32(0.25), 100.0, "liver")
    row = canvas.hu[:, 0]
    assert row[39] == pytest.approx(100)  # x = -1, deep inside
    assert row[40] == pytest.approx(-1000 + 0.75 * 1100)  # x = 0, a quarter of a mm inside
    assert row[41] == pytest.approx(-1000)
    assert canvas.labels[40, 0] == LABEL_IDS["liver"]
    assert canvas.labels[41, 0] == 0
    canvas.paint(window, canvas.x[window] + np.float32(20.25), 5.0, "")
    assert canvas.labels[0, 0] == 0
    assert canvas.labels[35, 0] == LABEL_IDS["liver"]


def test_marks_go_to_their_layer_and_leave_the_labels():
    canvas = flat_canvas()
    window = canvas.window((-50, -50, -1), (50, 50, 1))
    canvas.mark(window, canvas.x[window], "hepatic tumor")
    assert set(canvas.layers) == {"tumours"}
    assert np.unique(canvas.layers["tumours"]).tolist() == [0, 26]
    assert not canvas.labels.any()


def test_a_profile_is_straight_between_heights_with_rounded_corners():
    profile = Profile(np.array([0.0, 100.0, 200.0]), np.array([10.0, 60.0, 60.0]), rounding_mm=20.0)
    assert profile.at(50) == pytest.approx(35, abs=0.3)
    assert profile.at(170) == pytest.approx(60, abs=0.05)
    assert 56 < profile.at(100) < 60
    canvas = flat_canvas(z=50.0)
    window = canvas.window((-5, -5, 0), (5, 5, 100))
    assert np.allclose(canvas.look_up(profile, window), profile.at(50))


@pytest.mark.parametrize("z", [0.0, 4.0])
def test_a_capsule_measures_the_distance_to_its_axis(z):
    canvas = flat_canvas(z)
    capsule = Capsules(np.array([(-10, 0, 0, 6)]), np.array([(15, 0, 0, 6)]))
    window, distance = capsule.distance(canvas, margin_mm=5)
    x, y, _ = canvas.points(window)
    beyond = np.maximum(np.maximum(-10 - x, x - 15), 0)
    assert np.allclose(distance, np.sqrt(beyond**2 + y**2 + z**2) - 6, atol=1e-4)
    assert capsule.distance(flat_canvas(20.0), margin_mm=5) is None


def test_a_squashed_tube_is_taller_than_thick():
    bar = tube([(-30, 0, 0, 4), (30, 0, 0, 4)], squash=(1, 1, 0.5))
    assert (bar.distance(flat_canvas(6.0))[1] < 0).any()  # eight mm tall
    assert (bar.distance(flat_canvas(0.0))[1] < 0).any(axis=0).sum() == 7  # and four to each side: |y| < 4


def test_a_tube_bent_through_points_is_found_on_every_slice():
    bow = tube([(0, -20, -30, 5), (0, 10, 0, 5), (0, -20, 30, 5)])
    middles = []
    for z in (-25.0, 0.0, 25.0):
        canvas = flat_canvas(z)
        window, distance = bow.distance(canvas)
        middles.append(canvas.y[window][distance < 0].mean())
    assert middles[1] > middles[0] + 10
    assert middles[0] == pytest.approx(middles[2], abs=1.0)
