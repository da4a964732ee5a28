"""A tiny scan of a body in air with a liver and two kidneys, for tests of data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

LABELS = {1: "liver", 2: "left kidney", 3: "right kidney"}
SHAPE = (24, 20, 18)
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
"""RAS: the first axis runs to the right."""


def make_case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return Hounsfield units and labels of a scan that differs with every seed."""
    rng = np.random.default_rng(seed)
    image = np.full(SHAPE, -1000, np.int16)
    image[3:21, 3:17] = rng.normal(40, 20, (18, 14, 18))
    at = seed % 4
    image[..., 18 - at :] = -1000  # bodies differ
    image[5 + 3 * at : 10 + 3 * at, 4:15, 7 - 2 * at : 9 - at] += 700
    labels = np.zeros(SHAPE, np.uint8)
    labels[14:19, 6:12, 8:14] = 1
    labels[14, 6 + at, 8] = 0  # so do the labels
    labels[5:8, 10:13, 3:6] = 2
    labels[16:19, 10:13, 3:6] = 3
    return image, labels


Written = Callable[..., Path]
"""What ``write_set`` is: a dictionary of cases to a list on disk."""
