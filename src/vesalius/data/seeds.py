"""Seeds of what is drawn beside a training's windows, so that nothing repeats what those are drawn by."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib


def seed_beside(seed: int, purpose: str, *, number: int = 0) -> tuple[int, int, int, int]:
    """Return a seed that no window of a training is drawn by.

    Their seeds are (seed, step, window), and numpy fills up with zeros: four words, of which the last is not 0, are
    none of those.

    Args:
        seed: Of the training.
        purpose: What is drawn, by a name of its own.
        number: Of what is drawn, where there are several.
    """
    return seed, number, 0, zlib.crc32(purpose.encode())
