"""Patch features: images above what an encoder makes of their patches, its three main directions as colours."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_SIDE, _GAP = 160, 4
_PAPER = (14, 17, 22)
_DIRECTIONS = 3


def render_patch_features(
    images: Float[np.ndarray, "n h w"], features: Float[np.ndarray, "n d y x"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw images, and under each its patches: alike in colour where they are alike to the encoder.

    The colours are the first three principal components of the patches of all images together, each stretched from
    its 2nd to its 98th percentile, so that a colour means the same in every image.

    Args:
        images: Grey, in 0..1.
        features: Of the patches of each.
    """
    colours = _principal_colours(features)
    count = len(images)
    canvas = Image.new("RGB", (count * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _GAP) + _GAP), _PAPER)
    for number, (image, colour) in enumerate(zip(images, colours, strict=True)):
        left = _GAP + number * (_SIDE + _GAP)
        grey = Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8))
        canvas.paste(grey.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), (left, _GAP))
        patches = Image.fromarray(colour).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        canvas.paste(patches, (left, _SIDE + 2 * _GAP))
    return np.asarray(canvas)


def _principal_colours(features: Float[np.ndarray, "n d y x"]) -> UInt8[np.ndarray, "n y x 3"]:
    count, width, height, breadth = features.shape
    patches = features.transpose(0, 2, 3, 1).reshape(-1, width).astype(np.float64)
    patches -= patches.mean(axis=0)
    _, directions = np.linalg.eigh(patches.T @ patches)  # the largest last
    main = patches @ directions[:, ::-1][:, :_DIRECTIONS]
    signs = np.where((main**3).sum(axis=0) < 0, -1.0, 1.0)  # a direction has no sign of its own
    low, high = np.percentile(main * signs, (2, 98), axis=0)
    shades = np.clip((main * signs - low) / np.maximum(high - low, 1e-12), 0, 1)
    padded = np.zeros((len(patches), _DIRECTIONS))
    padded[:, : shades.shape[1]] = shades
    return (255 * padded).round().astype(np.uint8).reshape(count, height, breadth, _DIRECTIONS)
