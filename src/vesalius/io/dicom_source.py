"""What a volume remembers of its DICOM series: which file each slice is, and the headers on demand."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from vesalius.errors import FileFormatError
from vesalius.geometry.grid import Grid
from vesalius.io.archives import StoredFile
from vesalius.io.dicom_headers import DAMAGE
from vesalius.io.pydicom_silence import quiet_pydicom


@dataclass(frozen=True, kw_only=True, eq=False)
class DicomSource:
    """The series behind a volume.

    Args:
        series_uid: Its SeriesInstanceUID.
        grid: The grid it was read on; slice ``k`` of it is ``slices[k]``.
        stored: The files in slice order, each once.
        slices: For each k, which of ``files`` holds the slice, and the number of its frame there, from 0. Where
            gaps were filled, the nearest.
        is_filled: Whether gaps were filled: then not every slice exists as a DICOM image.
        repairs: What was mended or is worth knowing, in words.
        key: What names it among the series of its folder: ``series_uid``, with ``#2`` for a second volume.
        description: As the scanner wrote it.
    """

    series_uid: str
    grid: Grid
    stored: tuple[StoredFile, ...] = field(repr=False)
    slices: tuple[tuple[int, int], ...] = field(repr=False)
    is_filled: bool = False
    repairs: tuple[str, ...] = ()
    key: str = ""
    description: str = field(default="", repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in slice order, each once; members of a zip as the zip's path and their name."""
        return tuple(file.path for file in self.stored)

    def datasets(self) -> tuple[Dataset, ...]:
        """Read the headers of ``files``, complete but for the pixels; what a DICOM SEG refers to and copies from.

        Raises:
            FileFormatError: If a file is gone or damaged since the volume was read.
        """
        with quiet_pydicom():
            return tuple(_header(file) for file in self.stored)


def _header(file: StoredFile) -> Dataset:
    try:
        with file.open() as stream:
            return pydicom.dcmread(stream, force=True, stop_before_pixels=True)
    except (*DAMAGE, RecursionError) as error:
        raise FileFormatError(
            expected="the files the volume was read from",
            got=f"{file.path.name}: {type(error).__name__}",
            do="keep the DICOM series in its place until the result is written",
        ) from error
