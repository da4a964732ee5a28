"""Stamp: a line of text across the foot of a picture, so that a mark travels with it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

_HEIGHT, _SIZE = 44, 20
_PAPER, _INK = (163, 22, 29), (255, 255, 255)


def stamped(picture: Image.Image, text: str) -> Image.Image:
    """Return a picture with a red band below it that says ``text``.

    Args:
        picture: RGB; left as it is.
        text: One line.
    """
    canvas = Image.new("RGB", (picture.width, picture.height + _HEIGHT), _PAPER)
    canvas.paste(picture, (0, 0))
    font = ImageFont.load_default(_SIZE)
    place = (picture.width / 2, picture.height + _HEIGHT / 2)
    ImageDraw.Draw(canvas).text(place, text, font=font, fill=_INK, anchor="mm")
    return canvas
