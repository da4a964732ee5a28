"""Preview: one picture of a result: three planes through the found structures, and a projection from the front.

Drawn in radiological convention (see ``planes``). Soft-tissue window for CT, percentiles for everything else.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vesalius.errors import GeometryError
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.findings import Finding, Findings
from vesalius.labels.structure import Colour
from vesalius.transforms.intensity import not_hounsfield
from vesalius.views.planes import AXIAL, CORONAL, SAGITTAL, Plane, best_indices, picture, thinned
from vesalius.views.projection import coronal_projection

SOFT_TISSUE_HU = (-160.0, 240.0)
"""The window radiologists read the abdomen in: level 40, width 400."""

_WIDTH, _MARGIN, _GAP, _CAPTION, _TITLE = 1280, 24, 16, 26, 64
_PANEL = (608, 500)
_ROW, _SWATCH, _COLUMN = 22, 13, 308
_PAPER, _INK, _FAINT, _FRAME = (14, 17, 22), (232, 236, 241), (146, 156, 168), (38, 44, 53)


@dataclass(frozen=True)
class _Panel:
    """One of the four pictures, its caption, the letters on its borders and its scale."""

    pixels: np.ndarray
    caption: str
    plane: Plane
    mm_per_pixel: float


def render_preview(volume: Volume, labels: LabelMap, findings: Findings) -> Image.Image:
    """Draw what was found in a volume.

    Args:
        volume: The image; its first channel is shown.
        labels: The result, on the volume's grid.
        findings: Names, colours and volumes for the legend.

    Returns:
        An RGB picture, 1280 pixels wide, as tall as the legend needs.

    Raises:
        GeometryError: If the labels are not on the volume's grid.
    """
    if not volume.grid.is_close(labels.grid):
        raise GeometryError(
            expected=f"labels on the volume's grid of {volume.grid.shape}",
            got=f"labels on another grid, of {labels.grid.shape}",
            do="give the labels that were made from this volume",
        )
    panels = _panels(volume.reoriented("RAS"), labels.reoriented("RAS"), findings)
    rows = [panels[:2], panels[2:]]
    heights = [max(panel.pixels.shape[0] for panel in row) + _CAPTION + _GAP for row in rows]
    legend = _legend_height(findings)
    canvas = Image.new("RGB", (_WIDTH, _TITLE + sum(heights) + legend), _PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_title(draw, volume, findings)
    top = _TITLE
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            _draw_panel(canvas, draw, panel, (_MARGIN + column * (_PANEL[0] + _GAP), top, height - _CAPTION - _GAP))
        top += height
    _draw_legend(draw, findings, top)
    return canvas


def png_bytes(picture_of_result: Image.Image) -> bytes:
    """Return the picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture_of_result.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _panels(volume: Volume, labels: LabelMap, findings: Findings) -> list[_Panel]:
    """Make the four pictures; both arguments are views in RAS order."""
    colours = {finding.class_id: finding.colour for finding in findings.found}
    layers = [labels.data, *labels.overlaps.values()]
    samples, steps = zip(*(thinned(layer) for layer in layers), strict=True)
    at = best_indices(samples, sorted(colours))
    indices = [index * step + step // 2 for index, step in zip(at, steps[0], strict=True)]
    window = _window(volume)
    panels = []
    for plane in (AXIAL, CORONAL, SAGITTAL):
        index = indices[plane.axis]
        size, scale = _fitted([volume.grid.shape[a] * volume.grid.spacing_mm[a] for a in plane.axes])
        pixels = picture(
            plane.cut(volume.data[0], index),
            [plane.cut(layer, index) for layer in layers],
            colours=colours,
            window=window,
            size=size,
        )
        place_mm = volume.grid.to_world(np.array(indices, dtype=np.float64))[plane.axis]
        word = ("x", "y", "z")[plane.axis]
        caption = f"{plane.name}, {word} = {place_mm:.0f} mm (RAS)"
        panels.append(_Panel(pixels, caption, plane, scale))
    return [*panels, _projected(labels, samples, steps[0], colours)]


def _projected(
    labels: LabelMap,
    samples: Sequence[np.ndarray],
    steps: tuple[int, int, int],
    colours: Mapping[int, Colour],
) -> _Panel:
    spacing = labels.grid.spacing_mm
    size, scale = _fitted([labels.grid.shape[a] * spacing[a] for a in CORONAL.axes])
    colour, absorbed = coronal_projection(samples, colours=colours, depth_step_mm=steps[1] * spacing[1])
    paper = np.array((6, 8, 11), dtype=np.float32)
    lit = np.clip(1.15 * colour + (1 - absorbed[..., None]) * paper, 0, 255).round().astype(np.uint8)
    pixels = np.asarray(Image.fromarray(lit).resize(size, Image.Resampling.BICUBIC))
    return _Panel(pixels, "all structures from the front", CORONAL, scale)


def _fitted(extent_mm: Sequence[float]) -> tuple[tuple[int, int], float]:
    """Return the size in pixels at which an extent fills a panel with square millimetres, and mm per pixel."""
    scale = max(extent_mm[0] / _PANEL[0], extent_mm[1] / _PANEL[1])
    return (max(1, round(extent_mm[0] / scale)), max(1, round(extent_mm[1] / scale))), scale


def _is_ct(volume: Volume) -> bool:
    """Say whether values are Hounsfield units: NIfTI and its like do not say what made an image, but air tells."""
    return volume.modality == "CT" or (volume.modality == "unknown" and not_hounsfield(volume.data[0]) is None)


def _window(volume: Volume) -> tuple[float, float]:
    if _is_ct(volume):
        return SOFT_TISSUE_HU
    sample = thinned(volume.data[0])[0].astype(np.float32)
    low, high = np.percentile(sample[np.isfinite(sample)], (1, 99.5)) if np.isfinite(sample).any() else (0, 1)
    return float(low), float(max(high, low + 1e-6))


def _draw_title(draw: ImageDraw.ImageDraw, volume: Volume, findings: Findings) -> None:
    count = len(findings.found)
    title = f"{count} structure{'s' * (count != 1)} found" if count else "nothing was found"
    draw.text((_MARGIN, 12), title, font=_font(22), fill=_INK)
    shape = " x ".join(map(str, volume.grid.shape))
    spacing = " x ".join(f"{side:.3g}" for side in volume.grid.spacing_mm)
    low, high = _window(volume)
    unit = " HU" if _is_ct(volume) else ""
    detail = f"{shape} voxels of {spacing} mm; grey from {low:.4g} to {high:.4g}{unit}"
    draw.text((_MARGIN, 40), detail, font=_font(13), fill=_FAINT)
    convention = "radiological convention: the patient's right is on the picture's left"
    draw.text((_WIDTH - _MARGIN, 40), convention, font=_font(13), fill=_FAINT, anchor="ra")


def _draw_panel(canvas: Image.Image, draw: ImageDraw.ImageDraw, panel: _Panel, place: tuple[int, int, int]) -> None:
    """Paste a panel into its cell (left, top, height), with letters, scale bar and caption."""
    left, top, height = place
    tall, wide = panel.pixels.shape[:2]
    x, y = left + (_PANEL[0] - wide) // 2, top + (height - tall) // 2
    draw.rectangle((left, top, left + _PANEL[0] - 1, top + height - 1), fill=(0, 0, 0), outline=_FRAME)
    canvas.paste(Image.fromarray(panel.pixels), (x, y))
    plane, edge = panel.plane, 7
    right, bottom = left + _PANEL[0], top + height
    _letter(draw, plane.left, (left + edge, (top + bottom) // 2), "lm")
    _letter(draw, plane.right, (right - edge, (top + bottom) // 2), "rm")
    _letter(draw, plane.top, ((left + right) // 2, top + edge), "mt")
    _letter(draw, plane.bottom, ((left + right) // 2, bottom - edge), "mb")
    _draw_scale(draw, panel.mm_per_pixel, (right - 12, bottom - 14))
    draw.text((left, bottom + 5), panel.caption, font=_font(14), fill=_FAINT)


def _letter(draw: ImageDraw.ImageDraw, letter: str, place: tuple[int, int], anchor: str) -> None:
    draw.text(place, letter, font=_font(18), fill=_INK, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _draw_scale(draw: ImageDraw.ImageDraw, mm_per_pixel: float, corner: tuple[int, int]) -> None:
    """Draw a bar of a round length, at most a quarter of a panel, ending at its lower right corner."""
    longest = _PANEL[0] / 4 * mm_per_pixel
    length = max((mm for mm in (100, 50, 20, 10, 5, 2, 1) if mm <= longest), default=None)
    if length is None:
        return
    x, y = corner
    draw.line((x - length / mm_per_pixel, y, x, y), fill=_INK, width=2)
    draw.text(
        (x, y - 5), f"{length} mm", font=_font(12), fill=_INK, anchor="rb", stroke_width=2, stroke_fill=(0, 0, 0)
    )


def _legend_height(findings: Findings) -> int:
    rows = -(-len(findings.found) // _columns())
    missing = len(findings.found) < len(findings.classes)
    return rows * _ROW + _MARGIN + missing * _ROW


def _columns() -> int:
    return (_WIDTH - 2 * _MARGIN) // _COLUMN


def _draw_legend(draw: ImageDraw.ImageDraw, findings: Findings, top: int) -> None:
    rows = -(-len(findings.found) // _columns())
    for place, finding in enumerate(findings.found):
        x, y = _MARGIN + place // rows * _COLUMN, top + place % rows * _ROW
        _draw_entry(draw, finding, x, y)
    missing = ", ".join(finding.name for finding in findings.classes if not finding.voxels)
    if missing:
        line = _shortened(draw, f"not found: {missing}", float(_WIDTH - 2 * _MARGIN))
        draw.text((_MARGIN, top + rows * _ROW), line, font=_font(14), fill=_FAINT)


def _draw_entry(draw: ImageDraw.ImageDraw, finding: Finding, x: int, y: int) -> None:
    draw.rectangle((x, y + 2, x + _SWATCH, y + 2 + _SWATCH), fill=finding.colour)
    volume = f"{finding.volume_ml:.0f} ml" if finding.volume_ml >= 10 else f"{finding.volume_ml:.2g} ml"
    end = x + _COLUMN - 22
    room = end - x - _SWATCH - 8 - draw.textlength(volume, font=_font(14)) - 10
    name = _shortened(draw, finding.name, room)
    draw.text((x + _SWATCH + 8, y), name, font=_font(14), fill=_INK)
    draw.text((end, y), volume, font=_font(14), fill=_FAINT, anchor="ra")


def _shortened(draw: ImageDraw.ImageDraw, text: str, room: float) -> str:
    line = " ".join(text.split())
    fits = len(line)
    while fits and draw.textlength(line[:fits] + "..." * (fits < len(line)), font=_font(14)) > room:
        fits = min(fits - 1, fits * 9 // 10)
    return line if fits == len(line) else line[:fits].rstrip(" ,") + "..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
