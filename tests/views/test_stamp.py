"""A stamped picture keeps what it shows and carries a band that says something."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from PIL import Image

from vesalius.views.stamp import stamped


def test_the_picture_stays_whole_above_a_red_band_with_white_letters():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 900, 3), dtype=np.uint8))
    before = np.asarray(picture).copy()
    shown = np.asarray(stamped(picture, "UNVALIDATED"))
    assert np.array_equal(shown[:60], before)
    assert np.array_equal(np.asarray(picture), before)
    band = shown[60:]
    red = (band[..., 0] > 120) & (band[..., 1] < 60)
    white = (band > 200).all(axis=2)
    assert red.mean() > 0.8
    assert white.sum() > 200
    assert np.abs(np.nonzero(white)[1].mean() - 450) < 20  # in the middle


def test_another_text_gives_another_band():
    picture = Image.new("RGB", (400, 10))
    assert stamped(picture, "ONE").tobytes() != stamped(picture, "TWO").tobytes()
