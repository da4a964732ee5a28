"""DICOM slices made by hand, so that the reader is not tested with files of its own writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

BLOBS_LPS = ((0.0, 0.0, 0.0, 6.0, 900.0), (9.0, 3.0, -4.0, 3.0, 1500.0), (-5.0, 8.0, 5.0, 2.5, 700.0))
"""x, y, z (LPS mm), radius, brightness: no mirror image of it is itself."""


def blob_at(points_lps: np.ndarray) -> np.ndarray:
    """The brightness of the asymmetric blob at points (..., 3)."""
    value = np.zeros(points_lps.shape[:-1])
    for x, y, z, radius, height in BLOBS_LPS:
        apart = ((points_lps - np.array([x, y, z])) ** 2).sum(axis=-1)
        value += height * np.exp(-apart / (2 * radius**2))
    return value


def ct_slice(pixels: np.ndarray, position: Sequence[float], **tags: Any) -> Dataset:
    """One CT slice: int16, slope 1, intercept 0; any tag can be given or, as None, left out."""
    dataset = Dataset()
    rows, columns = pixels.shape
    values: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(entropy_srcs=[str(position), str(sorted(map(str, tags.items())))]),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.9",
        "Modality": "CT",
        "PatientName": "Secret^Name",
        "PatientID": "secret-id",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesNumber": 3,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "ImagePositionPatient": [float(f"{v:.9g}") for v in position],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": 2,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    for keyword, value in (values | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    dataset.PixelData = np.ascontiguousarray(pixels).astype(kind).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def blob_slices(
    *,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (1.3, 0.9),
    step: Sequence[float] | float = 1.7,
    shape: tuple[int, int, int] = (34, 46, 22),
    **tags: Any,
) -> list[Dataset]:
    """Slices through the blob; its centre is the middle of the stack.

    Args:
        orientation: Six direction cosines, LPS.
        spacing: Between rows, between columns.
        step: From slice to slice: a vector, or millimetres along the normal.
        shape: Rows, columns, slices.
        tags: For every slice.
    """
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    vector = np.cross(row, column) * step if np.isscalar(step) else np.array(step, float)
    rows, columns, count = shape
    r, c = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    plane = r[..., None] * spacing[0] * column + c[..., None] * spacing[1] * row
    start = -(plane[-1, -1] + (count - 1) * vector) / 2
    slices = []
    for k in range(count):
        position = start + k * vector
        pixels = np.rint(blob_at(plane + position)).astype(int)
        geometry = {
            "ImageOrientationPatient": [float(f"{v:.9g}") for v in (*row, *column)],
            "PixelSpacing": list(spacing),
        }
        slices.append(ct_slice(pixels, position, **({"InstanceNumber": k + 1} | geometry | tags)))
    return slices


def save(slices: Sequence[Dataset], folder: Path, *, shuffle: int | None = None) -> Path:
    """Write slices as files; with ``shuffle`` their names and instance numbers say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    order = list(range(len(slices)))
    if shuffle is not None:
        order = list(np.random.default_rng(shuffle).permutation(len(slices)))
    for name, dataset in zip(order, slices, strict=True):
        if shuffle is not None:
            dataset.InstanceNumber = int(name) + 1
        dataset.save_as(folder / f"IM{name:04d}", enforce_file_format=True)
    return folder


class DicomByHand:
    """The functions above, for tests."""

    slice = staticmethod(ct_slice)
    slices = staticmethod(blob_slices)
    save = staticmethod(save)
    blob_at = staticmethod(blob_at)


@pytest.fixture(scope="session")
def by_hand() -> type[DicomByHand]:
    """Slices made by hand."""
    return DicomByHand
