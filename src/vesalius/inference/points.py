"""Clicks over a prepared volume: windows around them, and what the point head says of each object there.

Differs from MONAI's ``point_based_window_inferer`` on purpose. One window serves a cluster of clicks, not one
each, and never moves, so that its image map can be kept; all objects of a window share it. Where windows overlap,
logits are averaged, not summed. A click on the first voxel of an axis counts. There are no -9999 logits and no NaN:
where no window is, nothing is said.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vesalius.geometry.boxes import NOWHERE, Box, Triple, enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.models.layers.planes import workspace
from vesalius.models.promptable import Promptable
from vesalius.prompts.encode import ObjectClicks, encode_clicks

ImageMaps = Callable[[Triple], Float[Tensor, "1 d i2 j2 k2"]]
"""The start of a window -> the point head's image map of it."""

SERVED_FROM = 3 / 16
"""A window serves the clicks at least so much of its side from its faces: 36 mm of 192 for VISTA3D."""

RAMP = 1 / 8
"""Over so much of a window's side, at its faces, what it says gives way to the earlier mask."""


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
        windows = (window_box(start, logits.shape) for start, logits in zip(self.starts, self.windows, strict=True))
        return enclosing_box(windows) or NOWHERE

    def blended(self) -> Float[Tensor, "i j k"]:
        """Return the logits of ``box``: averaged where windows overlap, 0 where none is.

        The weights of the average fall towards the faces of the windows, where a window sees least.
        """
        if len(self.starts) == 1:
            return self.windows[0]
        total, weight = torch.zeros(self.box.shape), torch.zeros(self.box.shape)
        for start, logits in zip(self.starts, self.windows, strict=True):
            window = window_box(start, logits.shape)
            i, j, k = (np.arange(a, b) for a, b in zip(window.start, window.stop, strict=True))
            share = torch.from_numpy(self._share_of(window, i[:, None, None], j[:, None], k))
            part = window.relative_to(self.box.start).slices
            total[part] += share * logits
            weight[part] += share
        return total.div_(weight.clamp_(min=torch.finfo().tiny))

    def share(self, i: np.ndarray, j: np.ndarray, k: np.ndarray) -> Float[np.ndarray, "*shape"]:
        """Return how much the logits count against an earlier mask at places of the model's grid, 0 to 1.

        It is 1 where some window's face is a ramp away, or where that face is the grid's own; from there it falls
        smoothly to the outer faces of all windows, and is 0 where no window is.

        Args:
            i: Places along the first axis, in voxels; the three broadcast together.
            j: Along the second.
            k: Along the third.
        """
        remaining = np.ones(np.broadcast_shapes(i.shape, j.shape, k.shape), dtype=np.float32)
        for start, logits in zip(self.starts, self.windows, strict=True):
            remaining *= 1 - self._share_of(window_box(start, logits.shape), i, j, k)
        return 1 - remaining

    def _share_of(self, window: Box, *places: np.ndarray) -> Float32[np.ndarray, "*shape"]:
        i, j, k = (
            _ramp(place, a, b, whole)
            for place, a, b, whole in zip(places, window.start, window.stop, self.shape, strict=True)
        )
        share: np.ndarray = i * j * k
        return share


def clicks_on_model_grid(
    points_ijk: Float[np.ndarray, "n 3"], *, grid: Grid, model_grid: Grid, content: Box
) -> Float[np.ndarray, "n 3"]:
    """Return clicks in the voxels of the model's grid.

    That may fall short of the volume by a quarter of a voxel at either end: clicks there count as on its face.

    Args:
        points_ijk: In voxels of the volume, no further out than its faces.
        grid: Of the volume.
        model_grid: Of the image the network sees, padding included.
        content: The part of it that is not padding.
    """
    points = model_grid.to_voxel(grid.to_world(points_ijk))
    low, high = np.asarray(content.start) - 0.5, np.asarray(content.stop) - 0.5
    return np.asarray(points.clip(low, high))  # last of all: any later rounding might lead outside again


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
    size, everywhere = np.asarray(window_size), Box((0, 0, 0), shape)
    inside = [click for click in points_ijk if everywhere.holds(click)]
    open_clicks = [click for click in inside if not _served(click, taken, shape, size)]
    starts: list[Triple] = []
    while open_clicks:
        low = high = open_clicks[0]
        for click in open_clicks[1:]:
            wider = np.minimum(low, click), np.maximum(high, click)
            if (wider[1] - wider[0] <= size - 2 * _margins(size) - 2).all():  # 2: for rounding the centre
                low, high = wider
        start = np.rint((low + high - size + 1) / 2).clip(0, np.asarray(shape) - size).astype(int).tolist()
        starts.append((start[0], start[1], start[2]))
        open_clicks = [click for click in open_clicks if not _served(click, starts[-1:], shape, size)]
    return tuple(starts)


def compute_image_map(
    network: Promptable, image: Float[Tensor, "i j k"], start: Triple, window_size: Triple
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
    window = image[window_box(start, window_size).slices][None, None].to(device)
    with torch.inference_mode(), workspace():
        mapped: Tensor = network.point_head.image_map(network.point_features(window))
    return mapped


def segment_points(
    network: Promptable,
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
    if image_maps is None:
        image_maps = partial(compute_image_map, network, image, window_size=window_size)
    found: list[dict[Triple, Tensor]] = [{} for _ in objects]
    for start in windows:
        window = window_box(start, window_size)
        clicked = [row for row, one in enumerate(objects) if len(one.within(window))]
        if not clicked:
            continue
        image_map = image_maps(start)
        for row in clicked:
            found[row][start] = _logits_of_one(network, objects[row], window, image_map)
    i, j, k = image.shape
    return tuple(PointLogits((i, j, k), tuple(one), tuple(one.values())) for one in found)


def _logits_of_one(
    network: Promptable, clicks: ObjectClicks, window: Box, image_map: Float[Tensor, "1 d i2 j2 k2"]
) -> Float[Tensor, "i j k"]:
    """Ask the head about one object: beside others it would be padded, which is a token and changes the answer."""
    told, device = encode_clicks([clicks], window), image_map.device
    with torch.inference_mode():
        logits: Tensor = network.point_head.logits(
            image_map, told.points_ijk.to(device), told.point_labels.to(device), told.supported.to(device)
        )
    return logits[0, 0].float().cpu()


def window_box(start: Triple, size: Sequence[int]) -> Box:
    """Return the box of a window that starts somewhere."""
    return Box(start, (start[0] + size[0], start[1] + size[1], start[2] + size[2]))


def _margins(size: np.ndarray) -> np.ndarray:
    return (size * SERVED_FROM).astype(int)


def _served(click: np.ndarray, starts: Sequence[Triple], shape: Triple, size: np.ndarray) -> bool:
    """Say whether a click lies a margin inside some window, or between it and the grid's own edge."""
    first = np.asarray(starts, dtype=int).reshape(-1, 3)  # [w 3]
    last = first + size - 1
    above = (click >= first + _margins(size)) | (first == 0)
    below = (click <= last - _margins(size)) | (last == np.asarray(shape) - 1)
    return bool((above & below).all(axis=1).any())


def _ramp(places: np.ndarray, start: int, stop: int, whole: int) -> Float32[np.ndarray, "*shape"]:
    """Return the share along one axis: a smooth step over the ramp at a face that is not the grid's own."""
    ramp = (stop - start) * RAMP
    rise = np.ones(places.shape)
    if start > 0:
        rise = np.minimum(rise, (places - (start - 0.5)) / ramp)
    if stop < whole:
        rise = np.minimum(rise, (stop - 0.5 - places) / ramp)
    rise = rise.clip(0, 1)
    return (rise * rise * (3 - 2 * rise)).astype(np.float32)
