"""Curves: numbers of a training over its steps, a panel for each, drawn with Pillow."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

_COLUMNS, _PANEL, _GAP = 3, (400, 230), 12
_LEFT, _TOP, _RIGHT, _BOTTOM = 58, 30, 14, 24
"""Room around a panel's frame for its numbers and its name."""
_PAPER, _INK, _FAINT, _FRAME = (14, 17, 22), (232, 236, 241), (146, 156, 168), (38, 44, 53)
_LINE, _DOTS = (96, 165, 250), (251, 146, 60)
_TICKS = 4


@dataclass(frozen=True)
class Curve:
    """One number over steps.

    Args:
        name: Curves of one name share a panel.
        points: (step, value), in the order of steps; at least one.
        is_dotted: Drawn as dots joined by a line, as validations are; else as a line.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    is_dotted: bool = False


def render_curves(curves: Sequence[Curve]) -> Image.Image:
    """Draw curves, a panel for each name, in the order of their names' first curves.

    Returns:
        An RGB picture; values that are not finite are left out.
    """
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(curve.name, []).append(curve)
    rows = max(-(-len(panels) // _COLUMNS), 1)
    width, height = (_PANEL[0] + _GAP) * _COLUMNS + _GAP, (_PANEL[1] + _GAP) * rows + _GAP
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    last = max((curve.points[-1][0] for curve in curves), default=1)
    for place, (name, ones) in enumerate(panels.items()):
        left = _GAP + place % _COLUMNS * (_PANEL[0] + _GAP)
        top = _GAP + place // _COLUMNS * (_PANEL[1] + _GAP)
        frame = (left + _LEFT, top + _TOP, left + _PANEL[0] - _RIGHT, top + _PANEL[1] - _BOTTOM)
        _draw_panel(draw, name, ones, frame, last=max(last, 1))
    return canvas


def ticks(low: float, high: float) -> list[float]:
    """Return about four round numbers (1, 2 or 5 times a power of ten apart) in [low, high]; low must be less."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(round_one * power for round_one in (1, 2, 5, 10) if round_one * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the values between which a panel shows its curves, a little more than they need."""
    values = [value for curve in curves for _, value in curve.points if math.isfinite(value)] or [0.0]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _draw_panel(
    draw: ImageDraw.ImageDraw, name: str, curves: Sequence[Curve], frame: tuple[int, int, int, int], *, last: int
) -> None:
    left, top, right, bottom = frame
    low, high = _range(curves)
    draw.text((left, top - 22), name, font=_font(14), fill=_INK)
    small = _font(11)
    for value in ticks(low, high):
        y = bottom - (value - low) / (high - low) * (bottom - top)
        draw.line((left, y, right, y), fill=_FRAME)
        draw.text((left - 6, y), f"{value:.4g}", font=small, fill=_FAINT, anchor="rm")
    for step in ticks(0.0, float(last)):
        x = left + step / last * (right - left)
        draw.text((x, bottom + 6), f"{step:.4g}", font=small, fill=_FAINT, anchor="mt")
    draw.rectangle(frame, outline=_FRAME)
    for curve in curves:
        places = [
            (left + step / last * (right - left), bottom - (value - low) / (high - low) * (bottom - top))
            for step, value in curve.points
            if math.isfinite(value)
        ]
        _draw_curve(draw, places, is_dotted=curve.is_dotted)


def _draw_curve(draw: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], *, is_dotted: bool) -> None:
    colour = _DOTS if is_dotted else _LINE
    if len(places) > 1:
        draw.line(list(places), fill=colour, width=2)
    for x, y in places if is_dotted or len(places) == 1 else ():
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
