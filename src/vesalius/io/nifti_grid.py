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
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.io.limits import check_shape
from vesalius.shapes import Affine

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_AGREEING_VOXELS = 0.5
"""Sform and qform may place a corner this far apart: a qform cannot hold the shear that a sform may have."""


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
    grid = Grid(shape, affine)
    return grid, (*repairs, *_disagreement(grid, header))


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


def _disagreement(grid: Grid, header: Any) -> tuple[str, ...]:
    """Say where the qform places the voxels elsewhere than the sform, whose word counts.

    Forms of one code name one space, so that one of them is wrong. Forms of two codes (a template and the scanner)
    may name two, and are told only where one mirrors the other: no two spaces of the standard do.
    """
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return ()
    try:
        other = Grid(grid.shape, _in_mm(np.asarray(header.get_qform(), np.float64), header)[0])
    except (HeaderDataError, ValueError, GeometryError) as error:
        return (f"the sform was believed; the qform is none ({type(error).__name__})",)
    corners = Box((0, 0, 0), grid.shape).corners()
    apart_mm = float(np.linalg.norm(grid.to_world(corners) - other.to_world(corners), axis=1).max())
    if apart_mm <= _AGREEING_VOXELS * min(grid.spacing_mm):
        return ()
    mirrored = np.linalg.det(grid.affine[:3, :3]) * np.linalg.det(other.affine[:3, :3]) < 0
    if not mirrored and int(header["sform_code"]) != int(header["qform_code"]):
        return ()
    what = "mirrors it, look whether left is left" if mirrored else "says another place"
    return (f"the sform was believed; the qform {what} (corners up to {apart_mm:.3g} mm apart)",)


def _in_mm(affine: Affine, header: Any) -> tuple[Affine, tuple[str, ...]]:
    if is_in_mm(header):
        return affine, ()
    factor = _MM_PER_UNIT[int(header["xyzt_units"]) & 7]
    unit = "metres" if factor > 1 else "micrometres"
    return np.diag([factor, factor, factor, 1.0]) @ affine, (f"the header's unit of length is {unit}; read as mm",)
