"""Clicks over a prepared volume: windows around them, and what the point head says of each object there.

Differs from MONAI's ``point_based_window_inferer`` on purpose. One window serves a cluster of clicks, not one
each, and never moves, so that its image map can be kept. All clicks of all objects of a window go through the head
together. Where windows overlap, logits are averaged, not summed. A click on the first voxel of an axis counts.
There are no -9999 logits and no NaN: where no window is, nothing is said.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.geometry.boxes import Box, Triple
from vesalius.models.vista3d import Vista3D
from vesalius.prompts.encode import ObjectClicks, encode_clicks

ImageMaps = Callable[[Triple], Float[Tensor, "1 d i2 j2 k2"]]
"""The start of a window -> the point head's image map of it."""

MARGIN_OF_SIDE = 8
"""A window serves the clicks at least an eighth of its side from its faces: 24 mm of 192 for VISTA3D."""


@dataclass(frozen=True, eq=False)
class PointLogits:
    """What the clicks of one object say, in the voxels of the model's grid.

    Args:
        shape: Of the model's grid.
        starts: The windows that hold clicks of the object; none where it has no click.
        windows: Mask logits of each of them; above 0 a voxel belongs to the object.
    """

    shape: Triple
    starts: tuple[Triple, ...]
    windows: tuple[Float[Tensor, "i j k"], ...]

    @property
    def box(self) -> Box:
        """The smallest box around all windows; empty where there are none."""
        if not self.starts:
            return Box((0, 0, 0), (0, 0, 0))
        low = np.min(self.starts, axis=0).tolist()
        high = (np.max(self.starts, axis=0) + self.windows[0].shape).tolist()
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def blended(self) -> tuple[Float[Tensor, "i j k"], Float[Tensor, "i j k"]]:
        """Return the logits of ``box`` and how much they count there.

        Returns:
            Logits, averaged where windows overlap with weights that fall towards the windows' faces, 0 where no
            window is. Their share against an earlier mask: 1 a margin inside the windows and at the volume's
            edge, falling smoothly to 0 at the outer faces of all windows together.
        """
        box = self.box
        total, remaining = torch.zeros(box.shape), torch.ones(box.shape)
        weights = torch.zeros(box.shape)
        for start, logits in zip(self.starts, self.windows, strict=True):
            here = Box(start, _end(start, logits.shape))
            part = here.shifted(box.start).slices
            share = _share(here, self.shape)
            total[part] += share * logits
            weights[part] += share
            remaining[part] *= 1 - share
        return total.div_(weights.clamp_(min=torch.finfo().tiny)), 1 - remaining


def window_starts(
    points_ijk: Float[np.ndarray, "n 3"],
    *,
    shape: Triple,
    window_size: Triple,
    taken: Sequence[Triple] = (),
) -> tuple[Triple, ...]:
    """Place the windows that clicks need, one for each cluster of clicks.

    Args:
        points_ijk: Clicks of all objects, in voxels of the model's grid.
        shape: Of that grid; at least a window along every axis.
        window_size: Voxels of a window.
        taken: Windows that stand already; they never move, and serve the clicks inside their margin.

    Returns:
        The starts of the windows needed beside ``taken``, in the order of the clicks that asked for them. A click
        outside the grid needs none.
    """
    raise NotImplementedError


def compute_image_map(
    network: Vista3D, image: Float[Tensor, "i j k"], start: Triple, window_size: Triple
) -> Float[Tensor, "1 d i2 j2 k2"]:
    """Return the point head's image map of one window: all of the work that does not depend on clicks.

    Args:
        network: With a click branch.
        image: What the network sees (``Prepared.image``).
        start: First voxel of the window.
        window_size: Voxels of the window.

    Raises:
        NoHeadError: If the model has no click branch.
    """
    device = next(network.parameters()).device
    window = image[Box(start, _end(start, window_size)).slices][None, None].to(device)
    with torch.inference_mode():
        mapped: Tensor = network.point_head.image_map(network.point_features(window))
    return mapped


def segment_points(
    network: Vista3D,
    image: Float[Tensor, "i j k"],
    objects: Sequence[ObjectClicks],
    windows: Sequence[Triple],
    *,
    window_size: Triple,
    image_maps: ImageMaps | None = None,
) -> tuple[PointLogits, ...]:
    """Segment clicked objects in the windows that hold their clicks.

    Args:
        network: With a click branch.
        image: What the network sees (``Prepared.image``).
        objects: With their clicks in voxels of ``image``.
        windows: Starts of the windows, as ``window_starts`` gave them; those without a click are not looked at.
        window_size: Voxels of a window.
        image_maps: Gives the image map of a window, from a cache; None computes it.

    Returns:
        Logits of each object, in order.

    Raises:
        NoHeadError: If the model has no click branch.
    """
    raise NotImplementedError


def _end(start: Triple, size: Sequence[int]) -> Triple:
    return start[0] + size[0], start[1] + size[1], start[2] + size[2]


def _share(window: Box, shape: Triple) -> Float[Tensor, "i j k"]:
    raise NotImplementedError
