"""PackedMask: a mask as compressed bits in the smallest box around it, so that hundreds of them cost little."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from vesalius.geometry.boxes import NOWHERE, Box, Triple, bounding_box, shared_box
from vesalius.shapes import MaskArray

_QUICKLY = 1


@dataclass(frozen=True)
class PackedMask:
    """A mask of any size in as little memory as its surface needs: bits, compressed; make it with ``of``.

    Args:
        box: The smallest box around its voxels; empty where it has none.
        bits: What ``zlib`` made of the bits of that box, last axis fastest.
    """

    box: Box = NOWHERE
    bits: bytes = b""

    @classmethod
    def of(cls, mask: MaskArray, origin: Triple = (0, 0, 0)) -> PackedMask:
        """Pack a mask.

        Args:
            mask: Voxels ``(i, j, k)``.
            origin: Where the first voxel of ``mask`` lies in the array that is meant.
        """
        found = bounding_box(mask)
        if found is None:
            return cls()
        bits = np.packbits(mask[found.slices])
        return cls(found.moved(origin), zlib.compress(bits.tobytes(), _QUICKLY))

    @property
    def is_empty(self) -> bool:
        """Whether it holds no voxel."""
        return self.box.is_empty

    def mask(self) -> MaskArray:
        """Return the mask inside ``box``."""
        i, j, k = self.box.shape
        bits = np.frombuffer(zlib.decompress(self.bits) if self.bits else b"", dtype=np.uint8)
        return np.unpackbits(bits, count=i * j * k).view(bool).reshape(i, j, k)

    def within(self, box: Box) -> MaskArray:
        """Return the mask inside another box, wherever that lies."""
        result = np.zeros(box.shape, dtype=bool)
        shared = shared_box(self.box, box)
        if shared is not None:
            result[shared.relative_to(box.start).slices] = self.mask()[shared.relative_to(self.box.start).slices]
        return result
