"""A CT volume -> a DICOM series, one file a slice: for phantoms and for tests of every reader."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from vesalius.errors import GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.atomic import disk_errors

_INTERCEPT = -1024
_PATIENT = "Phantom"
_RIGHT_ANGLE = 1e-4
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(volume: Volume, folder: Path, *, description: str = "") -> None:
    """Write a CT volume as a DICOM series; the folder appears complete or not at all.

    The same volume and arguments give the same bytes: UIDs come from the content, dates stay empty.

    Args:
        volume: One channel of Hounsfield units, rounded to whole ones; k becomes the slices.
        folder: Made by this call; refused if it holds anything.
        description: SeriesDescription. The patient is called Phantom.

    Raises:
        UsageError: If it is not one channel of CT, does not fit 16 bits, or the folder is not empty.
        GeometryError: If the i and j axes are not at right angles (DICOM rows and columns are).
        DiskError: If it cannot be written.
    """
    _check(volume, folder)
    part = folder.with_name(f".{folder.name}.part")
    try:
        with disk_errors(f"to write the folder {folder.name}"):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            header = _series_header(volume, description)
            for k in range(volume.grid.shape[2]):
                _slice(header, volume, k).save_as(part / f"slice_{k + 1:04d}.dcm", enforce_file_format=True)
            if folder.is_dir():
                folder.rmdir()
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(volume: Volume, folder: Path) -> None:
    if volume.modality != "CT" or volume.data.shape[0] != 1:
        raise UsageError(
            expected="one channel of CT, in Hounsfield units",
            got=f"{volume.data.shape[0]} channels of modality {volume.modality}",
            do="write NIfTI instead",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(expected="a new or empty folder", got=f"{folder} with content", do="name another folder")
    i, j, _ = volume.grid.affine[:3, :3].T
    if abs(i @ j) > _RIGHT_ANGLE * np.linalg.norm(i) * np.linalg.norm(j):
        raise GeometryError(
            expected="i and j axes at right angles",
            got="a grid sheared in its slices",
            do="resample the volume first",
        )
    for k in range(volume.grid.shape[2]):
        values = volume.data[0, :, :, k]
        low, high = float(values.min()), float(values.max())
        if not (low - _INTERCEPT >= -32768 and high - _INTERCEPT <= 32767):
            raise UsageError(
                expected=f"values from {-32768 + _INTERCEPT} to {32767 + _INTERCEPT} HU",
                got=f"{low:g} to {high:g} in slice {k}",
                do="clip the volume first",
            )


def _series_header(volume: Volume, description: str) -> Dataset:
    """Make what all slices share; identifiers are hashes of the content."""
    digest = hashlib.sha256(repr((volume.grid.shape, volume.grid.affine.tolist(), description, _PATIENT)).encode())
    for k in range(volume.grid.shape[2]):
        digest.update(np.ascontiguousarray(volume.data[0, :, :, k]).tobytes())
    seed = digest.hexdigest()
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.StudyDate = header.StudyTime = header.AccessionNumber = header.ReferringPhysicianName = ""
    header.Modality, header.Manufacturer = "CT", "Vesalius"
    header.SeriesDescription, header.PatientName, header.PatientID = description, _PATIENT, _PATIENT.lower()
    header.PatientBirthDate = header.PatientSex = header.StudyID = header.PositionReferenceIndicator = ""
    header.PatientPosition = "HFS"
    header.KVP, header.AcquisitionNumber, header.SeriesNumber = None, 1, 1
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[seed, what]) for what in ("study", "series", "frame of reference")
    )
    _add_geometry(header, volume.grid)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = _INTERCEPT, 1, "HU"
    return header


def _add_geometry(header: Dataset, grid: Grid) -> None:
    columns, rows, _ = grid.shape
    axes = (_RAS_TO_LPS @ grid.affine)[:3, :3]
    i_mm, j_mm, _ = grid.spacing_mm
    row, column = axes[:, 0] / i_mm, axes[:, 1] / j_mm
    height = abs(float(np.cross(row, column) @ axes[:, 2]))
    header.Rows, header.Columns = rows, columns
    header.PixelSpacing = [_decimal(j_mm), _decimal(i_mm)]  # between rows first
    header.ImageOrientationPatient = [_decimal(v) for v in (*row, *column)]
    header.SliceThickness = header.SpacingBetweenSlices = _decimal(height)


def _slice(header: Dataset, volume: Volume, k: int) -> Dataset:
    dataset = Dataset(header)
    position = _RAS_TO_LPS @ volume.grid.affine @ np.array([0.0, 0.0, k, 1.0])
    dataset.ImagePositionPatient = [_decimal(v) for v in position[:3]]
    dataset.InstanceNumber = k + 1
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(header.SeriesInstanceUID), str(k)])
    stored = np.rint(volume.data[0, :, :, k].T).astype(np.int32) - _INTERCEPT
    dataset.PixelData = np.ascontiguousarray(stored, dtype="<i2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
