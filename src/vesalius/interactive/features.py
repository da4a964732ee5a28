"""ImageMapCache: what the point head needs of a window, kept for the next click, within a bound.

Windows never move, so the start of one names its map. A map is a function of the volume and the network alone: one
that was dropped (the least recently used first) and is computed again is the same: eviction changes only time.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from vesalius.errors import UsageError
from vesalius.geometry.boxes import Triple

CACHE_BYTES = 1 << 30
"""By default: forty windows of VISTA3D in bf16 (25 MB each), twenty in fp32."""


class ImageMapCache:
    """Image maps by the start of their window; a function from the one to the other.

    Args:
        compute: Gives the map of a window that is not here.
        max_bytes: Held at most. A map that is larger alone is computed every time.

    Raises:
        UsageError: If ``max_bytes`` is negative.
    """

    def __init__(
        self, compute: Callable[[Triple], Float[Tensor, "1 d i2 j2 k2"]], *, max_bytes: int = CACHE_BYTES
    ) -> None:
        if max_bytes < 0:
            raise UsageError(
                expected="a cache of 0 bytes or more", got=f"{max_bytes} bytes", do="give 0 to keep nothing"
            )
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0
        self.held_bytes = 0
        self._compute = compute
        self._maps: OrderedDict[Triple, Float[Tensor, "1 d i2 j2 k2"]] = OrderedDict()

    def __call__(self, start: Triple) -> Float[Tensor, "1 d i2 j2 k2"]:
        """Return the image map of the window at ``start``, computed where it is not here."""
        if start in self._maps:
            self.hits += 1
            self._maps.move_to_end(start)
            return self._maps[start]
        self.misses += 1
        image_map = self._compute(start)
        self._keep(start, image_map)
        return image_map

    def _keep(self, start: Triple, image_map: Tensor) -> None:
        if image_map.nbytes > self.max_bytes:
            return
        while self.held_bytes + image_map.nbytes > self.max_bytes:
            _, dropped = self._maps.popitem(last=False)
            self.held_bytes -= dropped.nbytes
        self._maps[start] = image_map
        self.held_bytes += image_map.nbytes
