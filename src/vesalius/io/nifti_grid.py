"""Where the voxels of a NIfTI header are: the sform, else the qform, else nowhere; in millimetres.

Reference: NIfTI-1 header (https://nifti.nimh.nih.gov/nifti-1), "3D image (volume) orientation and location".
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError, SpatialImage

from vesalius.errors import FileFormatError, GeometryError
from vesalius.geometry.grid import Grid
from vesalius.io.limits import check_shape
from vesalius.shapes import Affine

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}


def grid_of_header(header: Any, path: Path) -> tuple[Grid, tuple[str, ...]]:
    """Return where the voxels are, and what was mended.

    Args:
        header: nibabel's, unchecked.
        path: The file, for messages.

    Raises:
        FileFormatError: If it claims no three axes of voxels.
        GeometryError: If neither sform nor qform places the voxels.
    """
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise FileFormatError(
            expected="1 to 7 axes", got=f"{path.name} that claims {dims[0]}", do="get the file again"
        )
    shape = check_shape(path, dims[1 : dims[0] + 1])
    affine, repairs = _in_mm(_affine(header, path), header)
    return Grid(shape, affine), repairs


def grid_of_image(image: SpatialImage, path: Path) -> tuple[Grid, tuple[str, ...]]:
    """Return where the voxels of a nibabel image are, by its header's word, in the precision of its affine.

    nibabel makes up an affine for headers that state none, and leaves it in the header's unit of length.

    Raises:
        FileFormatError, GeometryError: As ``grid_of_header``.
    """
    grid, repairs = grid_of_header(image.header, path)
    affine, _ = _in_mm(np.asarray(image.affine, np.float64), image.header)
    return Grid(grid.shape, affine), repairs


def is_in_mm(header: Any) -> bool:
    """Say whether the header's numbers are millimetres, as they are where it says nothing."""
    return int(header["xyzt_units"]) & 7 not in _MM_PER_UNIT


def _affine(header: Any, path: Path) -> Affine:
    try:
        if int(header["sform_code"]) > 0:
            return np.asarray(header.get_sform(), np.float64)
        if int(header["qform_code"]) > 0:
            return np.asarray(header.get_qform(), np.float64)
        raise HeaderDataError("neither an sform nor a qform (both codes are 0)")
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(
            expected="a NIfTI header whose sform or qform places the voxels",
            got=f"{path.name}: {error}",
            do="write it again from the DICOM series, or set the sform with a program that knows left from right",
        ) from None


def _in_mm(affine: Affine, header: Any) -> tuple[Affine, tuple[str, ...]]:
    if is_in_mm(header):
        return affine, ()
    factor = _MM_PER_UNIT[int(header["xyzt_units"]) & 7]
    unit = "metres" if factor > 1 else "micrometres"
    return np.diag([factor, factor, factor, 1.0]) @ affine, (f"the header's unit of length is {unit}; read as mm",)
