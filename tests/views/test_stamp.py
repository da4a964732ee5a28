"""A stamp marks a picture and leaves it as it is."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vesalius.views.stamp import stamped


def test_the_picture_stays_and_the_mark_stands_below() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 300, 3), np.uint8))
    marked = np.asarray(stamped(picture, "UNVALIDATED"))
    assert np.array_equal(marked[:60], np.asarray(picture))
    band = marked[60:]
    assert band.shape[0] >= 20
    assert not np.array_equal(band, np.asarray(stamped(picture, "ANOTHER TEXT"))[60:]), "the text is drawn"
