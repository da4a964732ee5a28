"""What a volume remembers of the file it came from; only ``io`` looks inside."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vesalius.errors import FileFormatError
from vesalius.geometry.grid import Grid

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource:
    """The file behind a volume.

    Args:
        path: The file.
        grid: The grid it was read on, to know whether a volume still lies there.
        header: The NIfTI header, for writing labels with the very same geometry.
        repairs: What was wrong with the file and mended while reading, in words.
        leaves_out_empty_slices: Whether the file holds no slices beyond the first and last with something in them.
    """

    path: Path
    grid: Grid
    header: object | None = None
    repairs: tuple[str, ...] = field(default=())
    leaves_out_empty_slices: bool = False


def repairs_of(source: object | None) -> tuple[str, ...]:
    """Return what was mended while reading, in words; empty for sources that mend nothing."""
    return tuple(getattr(source, "repairs", ()))


def mend_non_finite(data: np.ndarray, path: Path) -> tuple[str, ...]:
    """Replace NaN and infinite voxels by the smallest finite one, in place, and say so.

    Scanners and resamplers write NaN where nothing was measured, outside the field of view: there the smallest
    value (air) is what a scan without NaN would hold. Works slice by slice along the last axis.

    Raises:
        FileFormatError: If no voxel is finite.
    """
    if not np.issubdtype(data.dtype, np.floating):
        return ()
    slices = [data[..., k] for k in range(data.shape[-1])]
    bad = sum(int(np.count_nonzero(~np.isfinite(values))) for values in slices)
    if not bad:
        return ()
    if bad == data.size:
        raise FileFormatError(
            expected="voxels with finite values",
            got=f"{path.name}: every voxel is NaN or infinite",
            do="write the file again with the program that made it",
        )
    lowest = min(values[np.isfinite(values)].min(initial=np.inf) for values in slices)
    for values in slices:
        values[~np.isfinite(values)] = lowest
    repair = f"{bad} of {data.size} voxels were NaN or infinite and became the smallest value, {lowest:g}"
    _logger.warning("%s: %s", path.name, repair)
    return (repair,)
