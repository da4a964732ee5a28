"""DICOM SEG: geometry checked on every write, overlaps, codes, and every SEG of the collection of oddities."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from vesalius.errors import (
    DicomSeriesError,
    DiskError,
    FileFormatError,
    GeometryError,
    InputError,
    MemoryBudgetError,
    UnsafeFileError,
    UsageError,
    VesaliusError,
)
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import dicom_seg, dicom_writer, formats, highdicom_seg, itk, limits, seg_frames
from vesalius.io.dicom_source import DicomSource
from vesalius.io.origin import Origin
from vesalius.labels.structure import Structure

SHAPE = (11, 9, 7)  # 99 pixels a frame: no whole number of bytes
NAMES = {1: "liver", 14: "left kidney", 26: "hepatic tumor", 120: "thing of ours"}

COSINES = {
    "axial": [1, 0, 0, 0, 1, 0],
    "mirrored columns": [1, 0, 0, 0, -1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "both reversed": [-1, 0, 0, 0, -1, 0],
    "oblique": [0.8, 0.6, 0, 0, 0, -1],
}


def grid_of(cosines: list[float], *, reversed_slices: bool = False, shape: tuple[int, int, int] = SHAPE) -> Grid:
    """The grid of a series with these direction cosines (LPS), 0.7 x 0.9 x 3 mm."""
    across, down = np.array(cosines[:3], dtype=float), np.array(cosines[3:], dtype=float)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = 0.7 * across, 0.9 * down
    lps[:3, 2] = (-3.0 if reversed_slices else 3.0) * np.cross(across, down)
    lps[:3, 3] = (-100.5, 50.25, -30.0)
    return Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


def labels_on(grid: Grid) -> LabelMap:
    """Asymmetric blocks: a liver, a kidney in one corner, and a tumour inside the liver."""
    base, tumour = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    base[2:8, 1:5, 2:6] = 1
    base[:2, 6:, :1] = 14
    base[9, 7:, 5] = 120
    tumour[3:5, 2:4, 3:5] = 26
    return LabelMap(base, grid, NAMES, {"tumours": tumour})


def series_of(grid: Grid, folder: Path) -> Volume:
    """A CT series on ``grid``, written and read."""
    data = np.zeros((1, *grid.shape), np.int16)
    dicom_writer.write_series(Volume(data, grid, "CT"), folder)
    return formats.read(folder)


@pytest.fixture
def written(tmp_path: Path) -> tuple[LabelMap, Path]:
    grid = grid_of(COSINES["axial"])
    labels = labels_on(grid)
    formats.write(labels, tmp_path / "a.seg.dcm", like=series_of(grid, tmp_path / "ct"))
    return labels, tmp_path / "a.seg.dcm"


def masks_by_name(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each segment's mask (k, j, i) and the affine of these axes to LPS, by highdicom alone."""
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume()
    names = [segmentation.get_segment_description(n).segment_label for n in segmentation.segment_numbers]
    return {name: volume.array[..., n] for n, name in enumerate(names)}, volume.affine


@pytest.mark.parametrize("reversed_slices", [False, True])
@pytest.mark.parametrize("name", COSINES)
def test_segments_lie_where_the_mask_has_them(name: str, reversed_slices: bool, tmp_path: Path) -> None:
    grid = grid_of(COSINES[name], reversed_slices=reversed_slices)
    labels = labels_on(grid)
    formats.write(labels, tmp_path / "a.seg.dcm", like=series_of(grid, tmp_path / "ct"))
    masks, affine = masks_by_name(tmp_path / "a.seg.dcm")
    assert set(masks) == set(NAMES.values())
    for structure, mask in masks.items():
        ours = grid.to_world(np.argwhere(labels.mask(structure)).mean(0))
        theirs = (affine @ [*np.argwhere(mask).mean(0), 1.0])[:3] * [-1, -1, 1]
        assert np.abs(grid.to_voxel(theirs) - grid.to_voxel(ours)).max() < 0.01
        assert mask.sum() == labels.mask(structure).sum()


def test_labels_turned_to_other_axes_come_out_on_the_scanners_slices(tmp_path: Path) -> None:
    grid = grid_of(COSINES["axial"])
    series = series_of(grid, tmp_path / "ct")
    turned = labels_on(grid).reoriented("SAL")
    formats.write(turned, tmp_path / "a.seg.dcm", like=series.reoriented("IPR"))
    dataset = pydicom.dcmread(tmp_path / "a.seg.dcm")
    assert (dataset.Rows, dataset.Columns) == (9, 11)
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    assert np.allclose(orientation.ImageOrientationPatient, COSINES["axial"])


def test_every_frame_names_the_slice_it_was_made_from(written: tuple[LabelMap, Path]) -> None:
    assert isinstance(formats.read(written[1].parent / "ct").source, DicomSource)
    slices = [pydicom.dcmread(file) for file in sorted((written[1].parent / "ct").rglob("*")) if file.is_file()]
    heights = {dataset.SOPInstanceUID: float(dataset.ImagePositionPatient[2]) for dataset in slices}
    dataset = pydicom.dcmread(written[1])
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) == pytest.approx(heights[origin])


def test_codes_names_ids_and_counts(written: tuple[LabelMap, Path]) -> None:
    dataset = pydicom.dcmread(written[1])
    segments = {item.SegmentLabel: item for item in dataset.SegmentSequence}
    assert [int(item.SegmentNumber) for item in dataset.SegmentSequence] == [1, 2, 3, 4]
    kidney = segments["left kidney"].SegmentedPropertyTypeCodeSequence[0]
    assert (kidney.CodeValue, kidney.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert segments["liver"].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert segments["thing of ours"].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert dataset.SegmentsOverlap == "YES"
    assert dataset.SegmentationType == "BINARY"
    assert len(dataset.PerFrameFunctionalGroupsSequence) == dataset.NumberOfFrames == 4 + 1 + 1 + 2
    indices = [
        tuple(f.FrameContentSequence[0].DimensionIndexValues) for f in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(indices)) == len(indices)


def test_a_file_says_who_made_it_and_whether_it_may_be_trusted(tmp_path: Path) -> None:
    scan = series_of(grid_of(COSINES["axial"]), tmp_path / "ct")
    origin = Origin(model="our\\model" + "l" * 60, version="3", is_unvalidated=True, has_clicks=True)
    formats.write(labels_on(scan.grid), tmp_path / "a.seg.dcm", like=scan, origin=origin)
    dataset = pydicom.dcmread(tmp_path / "a.seg.dcm")
    assert dataset.SeriesDescription == "UNVALIDATED segmentation by Vesalius"
    assert dataset.ContentDescription == "UNVALIDATED, outside what the model was made for"
    assert {item.SegmentAlgorithmType for item in dataset.SegmentSequence} == {"SEMIAUTOMATIC"}
    (algorithm,) = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("our_model" + "l" * 55, "3")


def test_without_anything_to_say_of_its_maker_a_file_is_as_usual(written: tuple[LabelMap, Path]) -> None:
    dataset = pydicom.dcmread(written[1])
    assert (dataset.SeriesDescription, dataset.ContentDescription) == ("Segmentation by Vesalius", "Segmentation")
    assert {item.SegmentAlgorithmType for item in dataset.SegmentSequence} == {"AUTOMATIC"}


def test_what_was_written_comes_back_with_ids_names_and_overlaps(written: tuple[LabelMap, Path]) -> None:
    labels, path = written
    read = formats.read_labels(path)
    assert dict(read.names) == NAMES
    first = round(float(labels.grid.to_voxel(read.grid.to_world(np.zeros(3)))[2]))
    depth = read.grid.shape[2]
    assert (read.data == labels.data[:, :, first : first + depth]).all()
    assert (read.overlaps["overlap 1"] == labels.overlaps["tumours"][:, :, first : first + depth]).all()


def test_a_segment_that_meets_different_ones_on_different_slices_erases_none(tmp_path: Path) -> None:
    grid = grid_of(COSINES["axial"])
    layers = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    layers[0][2:6, 2:6, 2:4] = 1
    layers[1][3, 3] = 25  # through all slices, so it meets the liver on two of them
    layers[2][3, 3, 4:] = 26  # meets the vessel behind the liver...
    layers[2][4, 4, 3] = 26  # ...and the liver beside the vessel
    names = {1: "liver", 25: "hepatic vessel", 26: "hepatic tumor"}
    labels = LabelMap(layers[0], grid, names, {"vessels": layers[1], "tumours": layers[2]})
    formats.write(labels, tmp_path / "a.seg.dcm", like=series_of(grid, tmp_path / "ct"))
    read = formats.read_labels(tmp_path / "a.seg.dcm")
    assert all(np.array_equal(read.mask(name), labels.mask(name)) for name in names.values())


def test_a_segment_of_others_whose_number_is_a_class_id_of_ours_gets_an_id_of_its_own(
    written: tuple[LabelMap, Path], tmp_path: Path
) -> None:
    labels, path = written
    dataset = pydicom.dcmread(path)
    ours = next(item for item in dataset.SegmentSequence if item.SegmentLabel == "left kidney")
    lesion = next(item for item in dataset.SegmentSequence if item.SegmentLabel == "hepatic tumor")
    ours.TrackingID = f"vesalius class {lesion.SegmentNumber}"
    lesion.TrackingID = "lesion of somebody else"
    for items in (dataset.SegmentSequence, reversed(list(dataset.SegmentSequence))):
        dataset.SegmentSequence = list(items)
        dataset.save_as(tmp_path / "mixed.dcm")
        read = formats.read_labels(tmp_path / "mixed.dcm")
        assert set(read.names) == {1, 120, 2, int(lesion.SegmentNumber)}
        for name in NAMES.values():
            assert read.mask(name).sum() == labels.mask(name).sum()
        assert read.names[int(lesion.SegmentNumber)] == "left kidney"


def test_segment_numbers_that_no_label_map_can_hold_are_refused(
    written: tuple[LabelMap, Path], tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(written[1])
    del dataset.SegmentSequence[0].SegmentNumber
    dataset.SegmentSequence[0].add_new("SegmentNumber", "UL", 70000)
    dataset.save_as(tmp_path / "odd.dcm")
    with pytest.raises(FileFormatError, match="segment numbers outside"):
        formats.read_labels(tmp_path / "odd.dcm")


def test_a_hundred_classes_take_no_array_each(tmp_path: Path) -> None:
    few = grid_of(COSINES["axial"])
    formats.write(labels_on(few), tmp_path / "few.seg.dcm", like=series_of(few, tmp_path / "few"))  # imports all
    grid = grid_of(COSINES["axial"], shape=(64, 64, 100))
    series = series_of(grid, tmp_path / "ct")
    data = np.zeros(grid.shape, np.uint8)
    data[15:45, 20:40] = np.arange(1, 101)
    labels = LabelMap(data, grid, {n: f"class {n}" for n in range(1, 101)})
    tracemalloc.start()
    formats.write(labels, tmp_path / "a.seg.dcm", like=series)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * data.nbytes  # measured 15, tags and all; an array per class would be 100 alone
    read = formats.read_labels(tmp_path / "a.seg.dcm")
    assert (read.data == data).all()


def test_a_single_segment_and_a_single_overlap_are_merged_too(tmp_path: Path) -> None:
    grid = grid_of(COSINES["axial"])
    labels = labels_on(grid)
    only = LabelMap((labels.data == 1).astype(np.uint8), grid, NAMES, labels.overlaps)
    formats.write(only, tmp_path / "a.dcm", like=series_of(grid, tmp_path / "ct"))
    masks, _ = masks_by_name(tmp_path / "a.dcm")
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"liver": 96, "hepatic tumor": 8}


def test_a_mirrored_file_is_noticed_and_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = series_of(grid_of(COSINES["axial"]), tmp_path / "ct")
    honest = dicom_seg.segmentation_of

    def mirrored(layer, *others, **how):  # type: ignore[no-untyped-def]
        return honest(layer[:, ::-1], *others, **how)

    monkeypatch.setattr(dicom_seg, "segmentation_of", mirrored)
    with pytest.raises(GeometryError, match="voxels away"):
        formats.write(labels_on(series.grid), tmp_path / "a.seg.dcm", like=series)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ct"]


def test_a_segment_lost_on_the_way_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = series_of(grid_of(COSINES["axial"]), tmp_path / "ct")
    monkeypatch.setattr(dicom_seg, "appended", lambda first, second: first)
    with pytest.raises(GeometryError, match="hepatic tumor"):
        formats.write(labels_on(series.grid), tmp_path / "a.seg.dcm", like=series)


def test_a_tilted_gantry_is_refused_with_the_way_out(tmp_path: Path) -> None:
    affine = grid_of(COSINES["axial"]).affine.copy()
    affine[1, 2] += 0.9
    series = series_of(Grid(SHAPE, affine), tmp_path / "ct")
    with pytest.raises(GeometryError, match=r"tilted gantry[\s\S]*seg\.nrrd"):
        formats.write(labels_on(series.grid), tmp_path / "a.seg.dcm", like=series)
    assert not (tmp_path / "a.seg.dcm").exists()


def test_without_a_dicom_series_or_without_findings_nothing_is_written(tmp_path: Path) -> None:
    grid = grid_of(COSINES["axial"])
    with pytest.raises(UsageError, match="--source"):
        formats.write(labels_on(grid), tmp_path / "a.seg.dcm")
    series = series_of(grid, tmp_path / "ct")
    empty = LabelMap(np.zeros(SHAPE, np.uint8), grid, NAMES)
    with pytest.raises(UsageError, match="empty"):
        formats.write(empty, tmp_path / "a.seg.dcm", like=series)
    assert not (tmp_path / "a.seg.dcm").exists()


def test_a_structure_that_cannot_be_written_is_not_blamed_on_the_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = highdicom_seg._description

    def refusing(number: int, structure: Structure, origin: Origin) -> hd.seg.SegmentDescription:
        if structure.name != "liver":
            raise TypeError(structure.name)
        return honest(number, structure, origin)

    monkeypatch.setattr(highdicom_seg, "_description", refusing)
    grid = grid_of([1, 0, 0, 0, 1, 0])
    scan = series_of(grid, tmp_path / "ct")
    data = np.ones(scan.grid.shape, np.uint8)
    with pytest.raises(DicomSeriesError, match=r"not for the structures found \(TypeError\)") as caught:
        formats.write(LabelMap(data, scan.grid, {1: "spleen"}, source=scan.source), tmp_path / "a.seg.dcm")
    assert "patient" not in str(caught.value)
    assert not (tmp_path / "a.seg.dcm").exists()


def test_a_disk_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    series = series_of(grid_of(COSINES["axial"]), tmp_path / "ct")
    with pytest.raises(DiskError):
        formats.write(labels_on(series.grid), tmp_path / "missing" / "a.seg.dcm", like=series)


@pytest.mark.parametrize("tenth", range(10))
def test_a_seg_truncated_anywhere_is_refused(tenth: int, written: tuple[LabelMap, Path], tmp_path: Path) -> None:
    whole = written[1].read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(InputError):
        formats.read_labels(tmp_path / "cut.dcm")


@pytest.mark.parametrize(("rows", "frames"), [(65535, 200_000), (65535, 9), (9, 10**9)])
def test_a_seg_that_claims_more_than_it_holds_is_refused(
    rows: int, frames: int, written: tuple[LabelMap, Path], tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(written[1])
    dataset.Rows = dataset.Columns = rows
    dataset.NumberOfFrames = frames
    dataset.save_as(tmp_path / "big.dcm")
    with pytest.raises((UnsafeFileError, FileFormatError)):
        formats.read_labels(tmp_path / "big.dcm")


def test_frames_far_apart_do_not_make_a_giant_volume(written: tuple[LabelMap, Path], tmp_path: Path) -> None:
    dataset = pydicom.dcmread(written[1])
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient[2] = 3e12
    dataset.save_as(tmp_path / "far.dcm")
    with pytest.raises(VesaliusError):
        formats.read_labels(tmp_path / "far.dcm")


def overlapping(folder: Path) -> tuple[Path, int]:
    """A file of four segments that all lie in the same place, and the bytes of one layer."""
    grid = grid_of(COSINES["axial"])
    layers = [np.full(SHAPE, label, np.uint8) for label in range(1, 5)]
    names = {label: f"class {label}" for label in range(1, 5)}
    overlaps = dict(zip("abc", layers[1:], strict=True))
    labels = LabelMap(layers[0], grid, names, overlaps)
    formats.write(labels, folder / "a.seg.dcm", like=series_of(grid, folder / "ct"))
    return folder / "a.seg.dcm", layers[0].nbytes


def test_layers_of_overlapping_segments_do_not_exceed_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, layer = overlapping(tmp_path)
    for room in (limits, dicom_seg):
        monkeypatch.setattr(room, "available_bytes", lambda: 4 * layer)
    assert len(formats.read_labels(file).overlaps) == 3
    for room in (limits, dicom_seg):
        monkeypatch.setattr(room, "available_bytes", lambda: 4 * layer - 1)
    with pytest.raises(MemoryBudgetError, match=r"a\.seg\.dcm"):
        formats.read_labels(file)


def test_layers_that_are_written_are_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, layer = overlapping(tmp_path)
    made, honest = [], dicom_seg._empty_layer

    def counted(*given, **named):  # type: ignore[no-untyped-def]
        made.append(honest(*given, **named))
        return made[-1]

    monkeypatch.setattr(dicom_seg, "_empty_layer", counted)
    left = lambda: SimpleNamespace(available=(4 - sum(map(np.any, made))) * layer)  # noqa: E731
    monkeypatch.setattr("vesalius.allowance.psutil.virtual_memory", left)
    assert len(formats.read_labels(file).overlaps) == 3
    assert len(made) == 4


def test_uneven_and_turned_frames_are_refused(written: tuple[LabelMap, Path], tmp_path: Path) -> None:
    def damaged(change) -> Path:  # type: ignore[no-untyped-def]
        dataset = pydicom.dcmread(written[1])
        change(dataset)
        dataset.save_as(tmp_path / "odd.dcm")
        return tmp_path / "odd.dcm"

    def uneven(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] += 1.3

    def turned(dataset: Dataset) -> None:
        item = Dataset()
        item.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [item]

    for change in (uneven, turned):
        with pytest.raises(GeometryError):
            formats.read_labels(damaged(change))


ODDITIES = "dicom-oddities"
READ = {
    "dcmqi/segmentations/23x38x3/seg/label.seg": ({"Liver": 322}, "dcmqi/segmentations/23x38x3/nrrd/label.nrrd"),
    "dcmqi/segmentations/24x38x3/seg/label.seg": ({"Liver": 315}, "dcmqi/segmentations/24x38x3/nrrd/label.nrrd"),
    "dcmqi/segmentations/liver.dcm": ({"Liver": 107098}, "dcmqi/segmentations/liver_seg.nrrd"),
    "dcmqi/segmentations/partial_overlaps.dcm": ({"GREEN": 9602, "DARK_BLUE": 4713}, None),
    "dcmqi/segmentations/sparse-labelmap-noppv.dcm": (
        {"Liver": 630},
        "dcmqi/segmentations/sparse_labelmap_noppv_seg.nrrd",
    ),
    "dcmqi/segmentations/sparse-labelmap-ppv5.dcm": ({"Liver": 630}, None),
    "dcmqi/sr-example/seg.dcm": ({"Neoplasm, Primary": 795}, None),
    "highdicom/seg_image_ct_binary.dcm": ({"first segment": 638}, None),
    "highdicom/seg_image_ct_binary_fractional.dcm": ({"first segment": 638}, None),
    "highdicom/seg_image_ct_binary_overlap.dcm": ({}, None),
    "highdicom/seg_image_ct_binary_single_frame.dcm": ({"first segment": 1832}, None),
    "highdicom/seg_image_ct_true_fractional.dcm": ({}, None),
    "pydicom-data/liver.dcm": ({"Liver": 107098}, "dcmqi/segmentations/liver_seg.nrrd"),
    "pydicom-data/liver_deflate.dcm": ({"Liver": 107098}, "dcmqi/segmentations/liver_seg.nrrd"),
    "pydicom-data/liver_expb.dcm": ({"Liver": 107098}, "dcmqi/segmentations/liver_seg.nrrd"),
    "pydicom-data/liver_j2k.dcm": ({"Liver": 107098}, "dcmqi/segmentations/liver_seg.nrrd"),
    "pydicom-data/liver_nonbyte_aligned.dcm": ({"Liver": 107098}, None),
}
REFUSED = {
    "highdicom/seg_image_cr_binary.dcm": "without position",
    "highdicom/seg_image_sm_control.dcm": "microscope",
    "highdicom/seg_image_sm_control_labelmap.dcm": "microscope",
    "highdicom/seg_image_sm_control_labelmap_palette_color.dcm": "microscope",
    "highdicom/seg_image_sm_dots.dcm": "microscope",
    "highdicom/seg_image_sm_dots_tiled_full.dcm": "microscope",
    "highdicom/seg_image_sm_numbers.dcm": "microscope",
    "pydicom/liver_1frame.dcm": "1 frames and 3 descriptions",
    "pydicom-data/liver_rle.dcm": "RLE",
}


@pytest.mark.parametrize("name", READ)
def test_segs_of_others_are_read_as_their_makers_read_them(name: str, shared_data: Path) -> None:
    counts, reference = READ[name]
    labels = dicom_seg.read_labels(shared_data / ODDITIES / name)
    for structure, voxels in counts.items():
        assert labels.mask(structure).sum() == voxels
    if reference:
        expected = itk.read_labels(shared_data / ODDITIES / reference)
        assert labels.grid.is_close(expected.grid)
        assert ((labels.data > 0) == (expected.data > 0)).all()


@pytest.mark.parametrize("name", [n for n in READ if n.startswith(("highdicom", "dcmqi")) and "sparse" not in n])
def test_segs_agree_with_highdicom_segment_by_segment(name: str, shared_data: Path) -> None:
    path = shared_data / ODDITIES / name
    labels = dicom_seg.read_labels(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's remarks on the files of others
        theirs = hd.seg.segread(path)
        stack = [theirs.get_stored_frame(n + 1) for n in range(int(theirs.get("NumberOfFrames") or 1))]
    half = -(-int(theirs.get("MaximumFractionalValue", 1)) // 2)
    places = seg_frames.frame_places(theirs, path)
    for segment in {place.segment for place in places}:
        assert segment is not None
        frames = [frame for frame, place in zip(stack, places, strict=True) if place.segment == segment]
        assert labels.mask(labels.names[segment]).sum() == sum(int((frame >= half).sum()) for frame in frames)


@pytest.mark.parametrize("name", REFUSED)
def test_segs_that_are_no_volume_are_refused_with_the_reason(name: str, shared_data: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        dicom_seg.read_labels(shared_data / ODDITIES / name)


def test_the_two_lists_hold_every_seg_there_is(shared_data: Path) -> None:
    segs = set()
    for path in (shared_data / ODDITIES).rglob("*"):
        if path.is_file() and path.suffix in (".dcm", ".seg"):
            header = pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True, force=True)
            if header.get("Modality") == "SEG":
                segs.add(str(path.relative_to(shared_data / ODDITIES)))
    assert segs == READ.keys() | REFUSED.keys()


def test_an_image_is_no_segmentation(tmp_path: Path) -> None:
    series_of(grid_of(COSINES["axial"]), tmp_path / "ct")
    (file, *_) = [file for file in sorted((tmp_path / "ct").rglob("*")) if file.is_file()]
    with pytest.raises(FileFormatError, match="modality CT"):
        formats.read_labels(file)
    with pytest.raises(FileFormatError, match="7 files"):
        formats.read_labels(tmp_path / "ct")
