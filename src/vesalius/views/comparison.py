"""Comparison: what should have been found beside what was, in three planes of one scan."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from vesalius.errors import GeometryError
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.structure import Colour
from vesalius.views.planes import AXIAL, CORONAL, SAGITTAL, Plane, best_indices, picture, thinned

_SIDE, _GAP, _CAPTION = 300, 8, 24
_PAPER, _INK = (14, 17, 22), (232, 236, 241)


def render_comparison(
    volume: Volume, truth: LabelMap, found: LabelMap, *, colours: Mapping[int, Colour], window: tuple[float, float]
) -> Image.Image:
    """Draw a reference above a result, each cut where the reference has most.

    Args:
        volume: The image; its first channel is shown.
        truth: The reference, on the volume's grid.
        found: The result, on the same grid and with the same ids.
        colours: Label id -> colour.
        window: Values shown black and white.

    Returns:
        An RGB picture: axial, coronal and sagittal, in radiological convention (see ``planes``).

    Raises:
        GeometryError: If the three are not on one grid.
    """
    if not volume.grid.is_close(truth.grid) or not volume.grid.is_close(found.grid):
        raise GeometryError(
            expected=f"labels on the volume's grid of {volume.grid.shape}",
            got=f"{truth.grid.shape} and {found.grid.shape}, or at another place",
            do="bring both onto the volume's grid first",
        )
    image = volume.reoriented("RAS")
    rows = {"reference": truth.reoriented("RAS"), "found": found.reoriented("RAS")}
    sample, steps = thinned(rows["reference"].data)
    places = zip(best_indices([sample], list(colours)), steps, strict=True)
    at = [index * step + step // 2 for index, step in places]
    canvas = Image.new("RGB", (3 * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _CAPTION) + _GAP), _PAPER)
    for row, (name, labels) in enumerate(rows.items()):
        top = row * (_SIDE + _CAPTION)
        ImageDraw.Draw(canvas).text((_GAP, top + 4), name, font=ImageFont.load_default(14), fill=_INK)
        for column, plane in enumerate((AXIAL, CORONAL, SAGITTAL)):
            panel = _panel(image, labels, plane, at[plane.axis], colours=colours, window=window)
            left = _GAP + column * (_SIDE + _GAP) + (_SIDE - panel.width) // 2
            canvas.paste(panel, (left, top + _CAPTION + (_SIDE - panel.height) // 2))
    return canvas


def _panel(
    image: Volume,
    labels: LabelMap,
    plane: Plane,
    index: int,
    *,
    colours: Mapping[int, Colour],
    window: tuple[float, float],
) -> Image.Image:
    """Paint one slice, its longer side as long as a panel's."""
    extent_mm = [image.grid.shape[axis] * image.grid.spacing_mm[axis] for axis in plane.axes]
    width, height = (max(1, round(_SIDE * side / max(extent_mm))) for side in extent_mm)
    layers = [plane.cut(layer, index) for layer in (labels.data, *labels.overlaps.values())]
    pixels = picture(plane.cut(image.data[0], index), layers, colours=colours, window=window, size=(width, height))
    return Image.fromarray(pixels)
