"""Draw a scan before and after clicks, with Dice, as the how-to shows it; the clicks are a simulated user's.

::

    python benchmarks/refine_pictures.py --model vista3d --structure liver --out docs/refine.png
    python benchmarks/refine_pictures.py --model M --image ct.nii.gz --truth labels.nii.gz --structure liver

Runs with any model that has a click branch. Without an image, the scan is the phantom, whose labels are known. The
user clicks in the middle of the largest error, sees what changes, and clicks again, in the session that users run.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions, load
from vesalius.interactive.session import Session
from vesalius.io.formats import read, read_labels
from vesalius.prompts.simulate import next_click
from vesalius.prompts.types import PointPrompt
from vesalius.views.planes import AXIAL, CORONAL, SAGITTAL, Plane, picture
from vesalius.views.preview import SOFT_TISSUE_HU

PANEL = 460
CAPTION = 34
FOUND, WANTED = (228, 113, 74), (245, 245, 245)
PAPER, INK = (14, 17, 22), (232, 236, 241)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One structure of one scan, before and after clicks.

    Args:
        name: Of the structure.
        before: What the model found by itself.
        after: Masks after each click, in order.
        clicks: Where and with which sign, in voxels.
        truth: What it should be.
    """

    name: str
    before: np.ndarray
    after: Sequence[np.ndarray]
    clicks: Sequence[PointPrompt]
    truth: np.ndarray


def correct(segmenter: Segmenter, volume: Volume, truth: np.ndarray, name: str, *, count: int) -> Correction:
    """Let a simulated user correct what the model finds; stops where nothing is wrong any more."""
    labels = segmenter(volume, [name], options=SegmentOptions(unvalidated=True))
    session = Session(segmenter, volume, labels=labels)
    rng = np.random.default_rng(0)
    before = current = session.mask(name)
    after, clicks = [], []
    while len(clicks) < count:
        click = next_click(truth, current, rng=rng, spacing_mm=volume.grid.spacing_mm)
        if click is None:
            break
        clicks.append(PointPrompt(target=name, positive=click.positive, voxel=click.point_ijk))
        session.add(clicks[-1])
        session.predict()
        current = session.mask(name)
        after.append(current)
    return Correction(name=name, before=before, after=after, clicks=clicks, truth=truth)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return 2|a and b| / (|a| + |b|); 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def draw(volume: Volume, correction: Correction) -> Image.Image:
    """Draw the three planes through the first click, before in the upper row and after in the lower."""
    masks = [correction.before, *correction.after[-1:]]
    captions = [f"{correction.name} by name alone: Dice {dice(correction.before, correction.truth):.3f}"]
    captions += [
        f"after {len(correction.clicks)} clicks: Dice {dice(mask, correction.truth):.3f}" for mask in masks[1:]
    ]
    canvas = Image.new("RGB", (3 * PANEL, len(masks) * (PANEL + CAPTION)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for row, (mask, caption) in enumerate(zip(masks, captions, strict=True)):
        top = row * (PANEL + CAPTION)
        pen.text((12, top + 10), f"{caption}; white: what it should be", fill=INK)
        for column, plane in enumerate((AXIAL, CORONAL, SAGITTAL)):
            panel = _panel(volume, correction, mask, plane)
            left = column * PANEL + (PANEL - panel.width) // 2
            canvas.paste(panel, (left, top + CAPTION + (PANEL - panel.height) // 2))
    return canvas


def _panel(volume: Volume, correction: Correction, mask: np.ndarray, plane: Plane) -> Image.Image:
    upright = volume.reoriented("RAS")
    to_upright = [
        upright.grid.to_voxel(volume.grid.to_world(np.asarray(click.voxel))) for click in correction.clicks
    ]
    centre = to_upright[0] if to_upright else (np.asarray(upright.grid.shape) - 1) / 2
    index = int(np.clip(round(centre[plane.axis]), 0, upright.grid.shape[plane.axis] - 1))
    found, wanted = (_upright(volume, part.astype(np.uint8)) for part in (mask, correction.truth))
    extent = [upright.grid.shape[a] * upright.grid.spacing_mm[a] for a in plane.axes]
    scale = PANEL / max(extent)
    size = (max(1, round(extent[0] * scale)), max(1, round(extent[1] * scale)))
    outline = plane.cut(wanted, index) & ~_eroded(plane.cut(wanted, index))
    pixels = picture(
        plane.cut(upright.data[0], index),
        [plane.cut(found, index), outline * 2],
        colours={1: FOUND, 2: WANTED},
        window=SOFT_TISSUE_HU,
        size=size,
    )
    panel = Image.fromarray(pixels)
    pen = ImageDraw.Draw(panel)
    for point, click in zip(to_upright, correction.clicks, strict=True):
        if abs(point[plane.axis] - index) <= 1.5:
            sides = [upright.grid.shape[a] for a in plane.axes]
            x, y = ((1 - (point[a] + 0.5) / n) * s for a, n, s in zip(plane.axes, sides, size, strict=True))
            _cross(pen, x, y, is_positive=click.positive)
    return panel


def _upright(volume: Volume, mask: np.ndarray) -> np.ndarray:
    return Volume(mask[None], volume.grid).reoriented("RAS").data[0]


def _eroded(mask: np.ndarray) -> np.ndarray:
    around = np.pad(mask, 1)
    return around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]


def _cross(pen: ImageDraw.ImageDraw, x: float, y: float, *, is_positive: bool) -> None:
    colour = (120, 230, 120) if is_positive else (250, 90, 90)
    pen.ellipse((x - 9, y - 9, x + 9, y + 9), outline=(0, 0, 0), width=3)
    pen.ellipse((x - 8, y - 8, x + 8, y + 8), outline=colour, width=2)
    pen.line((x - 5, y, x + 5, y), fill=colour, width=2)
    if is_positive:
        pen.line((x, y - 5, x, y + 5), fill=colour, width=2)


def case(arguments: argparse.Namespace) -> tuple[Volume, np.ndarray]:
    """Return the scan and what the structure should be, from files or from the phantom."""
    if arguments.image is None:
        volume, labels = make_phantom(PhantomConfig(seed=arguments.seed))
        return volume, labels.mask(arguments.structure)
    volume = read(arguments.image)
    labels = read_labels(arguments.truth).reoriented(volume.grid.axis_codes)
    return volume, labels.mask(arguments.structure)


def main(words: Sequence[str] | None = None) -> None:
    """Correct, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="one with a click branch")
    parser.add_argument("--image", type=Path, help="a scan; default: the phantom")
    parser.add_argument("--truth", type=Path, help="its labels; needed with --image")
    parser.add_argument("--structure", default="liver")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="which phantom")
    parser.add_argument("--out", type=Path, default=Path("docs/refine.png"))
    arguments = parser.parse_args(words)
    if (arguments.image is None) != (arguments.truth is None):
        parser.error("--image and --truth go together")
    volume, truth = case(arguments)
    correction = correct(load(arguments.model), volume, truth, arguments.structure, count=arguments.clicks)
    for number, mask in enumerate([correction.before, *correction.after]):
        print(f"{number} clicks: Dice {dice(mask, truth):.4f}")
    draw(volume, correction).save(arguments.out)
    print(arguments.out, file=sys.stderr)


if __name__ == "__main__":
    main()
