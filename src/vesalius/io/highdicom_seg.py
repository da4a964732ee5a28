"""One layer of labels -> highdicom's Segmentation, which takes patient and study from the headers of a series.

What those headers lack, or hold in a form that the standard does not know, is refused here; ``check_headers`` says
so before anything is computed whose result could not be written.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

import vesalius
from vesalius.errors import DicomSeriesError
from vesalius.geometry.grid import Grid
from vesalius.io.coding import describe
from vesalius.io.origin import Origin
from vesalius.io.pydicom_silence import quiet_pydicom
from vesalius.labels.structure import Concept, Structure
from vesalius.shapes import LabelArray

_TRACKING = "vesalius class {}"
_MANUFACTURER = "Vesalius"
_TYPE_1 = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
           "StudyTime", "ReferringPhysicianName")  # fmt: skip
_REFUSALS = (ValueError, TypeError, AttributeError, LookupError, NotImplementedError)
"""What highdicom and pydicom raise on headers that the standard does not know: they have no error of their own."""


def check_headers(source_images: Sequence[Dataset]) -> None:
    """Refuse headers from which no DICOM SEG can be made, by making one of a single voxel.

    Args:
        source_images: The datasets of the series, without pixels.

    Raises:
        DicomSeriesError: If a tag is missing, or holds what the standard does not allow.
    """
    for tag in _TYPE_1:
        lacking = sum(not header.get(tag) for header in source_images)
        if lacking:
            raise _refused(f"{lacking} of {len(source_images)} files without {tag}")
    voxel = np.ones((1, 1, 1), np.uint8)
    try:
        _made(voxel, [1], Grid((1, 1, 1), np.eye(4)), describe({1: "liver"}), source_images, origin=Origin())
    except _REFUSALS as error:
        got = f"dates, times or codes of patient or study that DICOM does not know ({type(error).__name__})"
        raise _refused(got) from error  # whose own words may quote a patient's data


def _refused(got: str) -> DicomSeriesError:
    return DicomSeriesError(
        expected="a DICOM series whose headers a DICOM SEG can be made from",
        got=got,
        do="export the series again, or leave out --format dicom-seg: NIfTI and .seg.nrrd need no headers",
    )


def segmentation_of(
    layer: LabelArray,
    ids: list[int],
    grid: Grid,
    structures: dict[int, Structure],
    sources: Sequence[Dataset],
    *,
    origin: Origin,
) -> Segmentation:
    """Make a BINARY segmentation of one layer; segments are numbered from 1 in the order of ``ids``.

    Args:
        layer: Label ids ``(i, j, k)``.
        ids: Those that are in it.
        grid: Where the voxels are.
        structures: Label id -> what it stands for.
        sources: The datasets of the series, without pixels.
        origin: Who made it: the algorithm, how automatic it was, and whether the descriptions call it unvalidated.

    Raises:
        DicomSeriesError: If highdicom cannot make one: from these headers, where ``check_headers`` refuses them,
            else of these structures.
    """
    try:
        return _made(layer, ids, grid, structures, sources, origin=origin)
    except _REFUSALS as error:
        check_headers(sources)
        raise DicomSeriesError(
            expected="structures and headers that a DICOM SEG can hold",
            got=f"headers that would do for a liver, but not for the structures found ({type(error).__name__})",
            do="look at the names and codes of the structures, or write NIfTI or .seg.nrrd; if nothing is odd "
            "about them, the defect is ours",
        ) from error


def _made(
    layer: LabelArray,
    ids: list[int],
    grid: Grid,
    structures: dict[int, Structure],
    sources: Sequence[Dataset],
    *,
    origin: Origin,
) -> Segmentation:
    table = np.zeros(max(int(layer.max()), *ids) + 1, np.uint8 if len(ids) <= 255 else np.uint16)
    table[ids] = np.arange(1, len(ids) + 1)
    numbers = np.empty(layer.shape[::-1], table.dtype)  # [k j i]: slices of rows of columns
    for k in range(layer.shape[2]):
        np.take(table, layer[:, :, k].T, out=numbers[k])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    volume = hd.Volume(
        numbers,
        lps[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT",
        frame_of_reference_uid=getattr(sources[0], "FrameOfReferenceUID", None),
    )
    with quiet_pydicom():  # values copied from the user's headers may be odd
        described = [_description(number, structures[label], origin) for number, label in enumerate(ids, 1)]
        return _of_volume(volume, described, sources, origin)


def _of_volume(
    volume: hd.Volume, described: list[SegmentDescription], sources: Sequence[Dataset], origin: Origin
) -> Segmentation:
    return Segmentation(
        source_images=[_complete(sources[0]), *sources[1:]],
        pixel_array=volume,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=_series_number(sources[0]),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=_MANUFACTURER,
        software_versions=vesalius.__version__,
        device_serial_number="0",
        content_description=origin.mark or "Segmentation",
        series_description=f"{'UNVALIDATED s' if origin.is_unvalidated else 'S'}egmentation by Vesalius",
        content_label="SEGMENTATION",
        omit_empty_frames=True,
    )


def _complete(header: Dataset) -> Dataset:
    """Return the header with the type-2 attributes it may lack, empty, as the standard allows."""
    if all(name in header for name in _TYPE_2):
        return header
    completed = Dataset()
    completed.update(header)
    completed.file_meta = header.file_meta
    for name in _TYPE_2:
        if name not in completed:
            setattr(completed, name, "")
    return completed


def _description(number: int, structure: Structure, origin: Origin) -> SegmentDescription:
    code = structure.code
    assert code is not None, "describe() gives every structure a code"
    algorithm = hd.AlgorithmIdentificationSequence(
        name=_long_string(origin.model) or _MANUFACTURER,
        version=_long_string(origin.version) or ("unknown" if origin.model else vesalius.__version__),
        family=CodedConcept("123109", "DCM", "Artificial Intelligence"),
        source=f"{_MANUFACTURER} {vesalius.__version__}",
    )
    description = SegmentDescription(
        segment_number=number,
        segment_label=structure.name[:64],
        segmented_property_category=_coded(code.category),
        segmented_property_type=_coded(code.type),
        algorithm_type="SEMIAUTOMATIC" if origin.has_clicks else "AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=_TRACKING.format(structure.id),
        anatomic_regions=[_coded(code.region)] if code.region else None,
    )
    if code.modifier:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            _coded(code.modifier)
        ]
    if code.region and code.region_modifier:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_coded(code.region_modifier)]
    description.RecommendedDisplayCIELabValue = [
        int(v) for v in hd.color.CIELabColor.from_rgb(*structure.colour).value
    ]
    return description


def _long_string(text: str) -> str:
    """Return text as DICOM's LO holds it: 64 characters that can be printed, no backslash, which parts values."""
    return "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in text)[:64].strip()


def _coded(concept: Concept) -> CodedConcept:
    return CodedConcept(concept.value, concept.scheme, concept.meaning[:64])


def _series_number(header: Dataset) -> int:
    return 1000 + abs(int(header.get("SeriesNumber") or 0)) % 1_000_000
