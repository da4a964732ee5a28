"""ClickLogits: what the point head says of one object's clicks, window by window, each thing computed once.

Objects are asked about one at a time. Together they would share little (the image map is shared anyway), and the
answer about one would depend, in its last bits, on which others happened to be asked about.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vesalius.geometry.boxes import Triple
from vesalius.inference.click_plan import bytes_for_maps
from vesalius.inference.points import PointLogits, compute_image_map, segment_points
from vesalius.inference.segmenter import Segmenter
from vesalius.interactive.features import TensorCache
from vesalius.prompts.encode import ObjectClicks


class ClickLogits:
    """The point head of a segmenter, with a memory.

    Args:
        segmenter: The network and its spec.
        max_bytes: Held at most: four fifths for image maps, the rest for logits.
    """

    def __init__(self, segmenter: Segmenter, max_bytes: int) -> None:
        self._segmenter = segmenter
        self.image_maps = TensorCache(bytes_for_maps(max_bytes))
        self._logits = TensorCache(max_bytes - bytes_for_maps(max_bytes))

    def of(self, image: Float[Tensor, "i j k"], said: Mapping[Triple, ObjectClicks]) -> PointLogits:
        """Return the logits of one object.

        Args:
            image: What the network sees; always the same.
            said: Start of a window -> what the head is told there, in voxels of ``image``.
        """
        i, j, k = image.shape
        logits = tuple(self._in_window(image, clicks, start) for start, clicks in said.items())
        return PointLogits((i, j, k), tuple(said), logits)

    def _in_window(
        self, image: Float[Tensor, "i j k"], there: ObjectClicks, start: Triple
    ) -> Float[Tensor, "x y z"]:
        network, size = self._segmenter.network, self._segmenter.spec.window_size

        def image_map(at: Triple) -> Tensor:
            return self.image_maps.get(at, lambda: compute_image_map(network, image, at, size))

        def ask() -> Tensor:
            (found,) = segment_points(network, image, [there], [start], window_size=size, image_maps=image_map)
            return found.windows[0]

        said = (there.points_ijk.tobytes(), there.positive.tobytes(), there.target.supported, there.target.special)
        return self._logits.get((start, *said), ask)
