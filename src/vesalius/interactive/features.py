"""TensorCache: what the network has said, kept for the next click, within a bound of bytes.

Windows never move, so the start of one names its image map; and what the point head says in a window depends on
that map and on the clicks of one object there. Both are functions: what was dropped (the least recently used first)
and is computed again is the same, and eviction changes only time.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

from vesalius.errors import UsageError

CACHE_BYTES = 1 << 30
"""By default: image maps of 32 windows of VISTA3D in bf16 (25 MB each), 16 in fp32, and logits of as many."""


class TensorCache:
    """Tensors by a key that says all they depend on.

    Args:
        max_bytes: Held at most. A tensor that is larger alone is not kept.

    Raises:
        UsageError: If ``max_bytes`` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise UsageError(
                expected="a cache of 0 bytes or more", got=f"{max_bytes} bytes", do="give 0 to keep nothing"
            )
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0
        self.held_bytes = 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor of a key, computed where it is not here."""
        if key in self._tensors:
            self.hits += 1
            self._tensors.move_to_end(key)
            return self._tensors[key]
        self.misses += 1
        tensor = compute()
        self._keep(key, tensor)
        return tensor

    def _keep(self, key: Hashable, tensor: Tensor) -> None:
        if tensor.nbytes > self.max_bytes:
            return
        while self.held_bytes + tensor.nbytes > self.max_bytes:
            _, dropped = self._tensors.popitem(last=False)
            self.held_bytes -= dropped.nbytes
        self._tensors[key] = tensor
        self.held_bytes += tensor.nbytes
