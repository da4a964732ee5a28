"""Where the users of the click benchmark click: the same places for both sides, written once to their folder."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from auto_vs_monai import ROI

LIVER, FIRST = 5, (5, 1, 2)
"""TotalSegmentator's ids: the session is about the liver; first clicks fall on liver, spleen and right kidney."""
BALL_MM = 40.0
"""Of the balls a simulated user sees: at 30 mm they never leave the example's liver, and no click is negative."""
JITTER_MM, MODEL_MM = 3.0, 1.5

Voxel = tuple[float, float, float]


class Said(NamedTuple):
    """A click, in voxels of the image it was made on."""

    voxel: Voxel
    positive: bool


def reference(options: argparse.Namespace) -> np.ndarray:
    """Return the label map beside the image: where users would click; what networks say is not measured on it."""
    path = options.image.replace(".nii.gz", "_seg117.nii.gz")
    return np.asanyarray(nibabel.load(path).dataobj).astype(np.uint8)


def centre(mask: np.ndarray) -> Voxel:
    """Return the voxel of a mask nearest to its centroid."""
    voxels = np.argwhere(mask)
    i, j, k = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))].tolist()
    return i, j, k


def around(voxel: Voxel, count: int) -> list[Voxel]:
    """Return places within 12 mm along each axis (4 voxels of the example's 3 mm)."""
    shifts = np.random.default_rng(0).integers(-4, 5, size=(count, 3))
    return [tuple(float(a + b) for a, b in zip(voxel, shift, strict=True)) for shift in shifts]  # type: ignore[misc]


def seconds_of(act: Callable[[], Any]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def session_clicks(folder: Path) -> list[Said]:
    """Return the clicks of the session, in voxels of the scan."""
    return _read(folder / "clicks.json")


def block_clicks(folder: Path) -> list[Said]:
    """Return the clicks in the block, in its voxels."""
    return _read(folder / "block_clicks.json")


def block_image(folder: Path) -> Path:
    """Return the block: one window of the scan, on the model's own grid."""
    return folder / "block.nii.gz"


def block_mask(folder: Path) -> np.ndarray:
    """Return the mask that the clicks in the block correct."""
    return np.load(folder / "block_earlier.npy")


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """Place the clicks of the session and of the block, and write both with the block's image and earlier mask.

    Seeded weights find nothing, so that a user who saw their masks would click in one place for ever: the user sees
    balls around the clicks so far. What the clicks in the block correct is the ball around the first of them.
    """
    from vesalius.evaluation.balls import balls
    from vesalius.geometry.grid import Grid
    from vesalius.geometry.resample import resample_linear, resample_points
    from vesalius.geometry.volume import Volume
    from vesalius.io.formats import read, write

    folder, scan, truth = Path(options.folder), read(options.image), reference(options) == LIVER
    clicks = _simulated(truth, scan.grid, options.clicks)
    _write(folder / "clicks.json", clicks)

    middle = scan.grid.to_world(np.asarray(centre(truth)))
    affine = np.diag([MODEL_MM, MODEL_MM, MODEL_MM, 1.0])
    affine[:3, 3] = middle - MODEL_MM * (np.asarray(ROI) - 1) / 2
    block = Grid(ROI, affine)
    upright = scan.reoriented("RAS")
    image = resample_linear(np.asarray(upright.data[0], dtype=np.float32), upright.grid, block).numpy()
    write(Volume(image[None], block), block_image(folder))
    liver = resample_points(truth.view(np.uint8), scan.grid, block, nearest=True).astype(bool)
    inside = _simulated(liver, block, options.clicks)
    _write(folder / "block_clicks.json", inside)
    np.save(folder / "block_earlier.npy", balls(inside[:1], block, BALL_MM))
    return {
        **{"clicks": len(clicks), "positive": sum(click.positive for click in clicks)},
        **{"block_clicks": len(inside), "block_positive": sum(click.positive for click in inside)},
    }


def _simulated(truth: np.ndarray, grid: Any, count: int) -> list[Any]:
    """Return clicks, each in the largest error of balls around the ones before."""
    from vesalius.evaluation.balls import balls
    from vesalius.prompts.simulate import Click, next_click

    rng, clicks = np.random.default_rng(0), list[Click]()
    for _ in range(count):
        seen = balls(clicks, grid, BALL_MM)
        click = next_click(truth, seen, rng=rng, jitter_mm=JITTER_MM, spacing_mm=grid.spacing_mm)
        assert click is not None
        clicks.append(click)
    return clicks


def _write(path: Path, clicks: Sequence[Any]) -> None:
    path.write_text(json.dumps([{"voxel": click.point_ijk, "positive": click.positive} for click in clicks]))


def _read(path: Path) -> list[Said]:
    return [Said(tuple(one["voxel"]), one["positive"]) for one in json.loads(path.read_text())]
