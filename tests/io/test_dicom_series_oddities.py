"""Every file of the collection of oddities: what must be read, and how, and what must be refused, and why."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

import vesalius.errors
from vesalius.geometry.resample import is_orthogonal
from vesalius.io.dicom_series import list_series, read_series

READ = {  # shape, modality, smallest and largest value
    "dcmqi/segmentations/23x38x3/image/IMG0001.dcm": ((23, 38, 1), "unknown", 0, 0),
    "dcmqi/segmentations/23x38x3/image/IMG0002.dcm": ((23, 38, 1), "unknown", 0, 1),
    "dcmqi/segmentations/23x38x3/image/IMG0003.dcm": ((23, 38, 1), "unknown", 0, 0),
    "dcmqi/segmentations/23x38x3/multiframe/mf.dcm": ((23, 38, 3), "unknown", 0, 1),
    "dcmqi/segmentations/24x38x3/image/IMG0001.dcm": ((24, 38, 1), "unknown", 0, 0),
    "dcmqi/segmentations/24x38x3/image/IMG0002.dcm": ((24, 38, 1), "unknown", 0, 1),
    "dcmqi/segmentations/24x38x3/image/IMG0003.dcm": ((24, 38, 1), "unknown", 0, 0),
    "dcmqi/segmentations/24x38x3/multiframe/mf.dcm": ((24, 38, 3), "unknown", 0, 1),
    "highdicom/ct_image.dcm": ((128, 128, 1), "CT", -896, 1167),
    "niivue/enh.dcm": ((64, 64, 6), "MR", 0, 1195),
    "pydicom/693_J2KI.dcm": ((512, 512, 1), "CT", -1024, 1812),
    "pydicom/CT_small.dcm": ((128, 128, 1), "CT", -896, 1167),
    "pydicom/J2K_pixelrep_mismatch.dcm": ((512, 512, 1), "CT", -2000, 1896),
    "pydicom/MR_small.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_RLE.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_bigendian.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_expb.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_implicit.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_jp2klossless.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_jpeg_ls_lossless.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom/MR_small_padded.dcm": ((64, 64, 1), "MR", 127, 2145),
    "pydicom-data/693_J2KR.dcm": ((512, 512, 1), "CT", -1024, 1468),
    "pydicom-data/693_UNCI.dcm": ((512, 512, 1), "CT", -1024, 1812),
    "pydicom-data/bad_sequence.dcm": ((512, 512, 1), "CT", -1011, 1243),
    "pydicom-data/eCT_Supplemental.dcm": ((512, 512, 2), "unknown", -1024, 172),
    "pyvista-dicom-stack/data.zip": ((512, 512, 3), "MR", 0, 346),
    "rt-utils/mock_data/ct_1.dcm": ((512, 512, 1), "CT", -1024, 125),
    "rt-utils/mock_data/ct_2.dcm": ((512, 512, 1), "CT", -1024, 125),
    "wg04/CT1_J2KI.dcm": ((512, 512, 1), "CT", -1024, 1385),
    "wg04/CT1_J2KR.dcm": ((512, 512, 1), "CT", -1024, 1254),
    "wg04/CT1_JLSL.dcm": ((512, 512, 1), "CT", -1024, 1254),
    "wg04/CT1_JLSN.dcm": ((512, 512, 1), "CT", -1024, 1254),
    "wg04/CT1_JPLL.dcm": ((512, 512, 1), "CT", -1024, 1254),
    "wg04/CT1_RLE.dcm": ((512, 512, 1), "CT", -1024, 1254),
    "wg04/CT2_J2KI.dcm": ((512, 512, 1), "CT", -2386, 1542),
    "wg04/CT2_J2KR.dcm": ((512, 512, 1), "CT", -2048, 1433),
    "wg04/CT2_JLSL.dcm": ((512, 512, 1), "CT", -2048, 1433),
    "wg04/CT2_JLSN.dcm": ((512, 512, 1), "CT", -2052, 1434),
    "wg04/CT2_JPLL.dcm": ((512, 512, 1), "CT", -2048, 1433),
    "wg04/CT2_RLE.dcm": ((512, 512, 1), "CT", -2048, 1433),
    "wg04/MR1_J2KI.dcm": ((512, 512, 1), "MR", -167, 3878),
    "wg04/MR1_J2KR.dcm": ((512, 512, 1), "MR", 0, 4000),
    "wg04/MR1_JLSL.dcm": ((512, 512, 1), "MR", 0, 4000),
    "wg04/MR1_JLSN.dcm": ((512, 512, 1), "MR", 0, 3996),
    "wg04/MR1_JPLL.dcm": ((512, 512, 1), "MR", 0, 4000),
    "wg04/MR1_JPLY.dcm": ((512, 512, 1), "MR", 0, 3970),
    "wg04/MR1_RLE.dcm": ((512, 512, 1), "MR", 0, 4000),
}

REFUSED = {  # error, and what it says
    "README.md": ("FileFormatError", "no DICOM"),
    "dcm_qa_ct/GE_head_gantry_tilt_plus18.5.zip": (
        "DicomSeriesError",
        "a step of 1.081 mm between slices 14 and 15 of 28",
    ),
    "dcm_qa_ct/Philips_scout.dcm": ("DicomSeriesError", "a localizer"),
    "dcmqi/segmentations/23x38x3/nrrd/label.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/23x38x3/screenshots/brainlab.jpg": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/23x38x3/screenshots/slicer.png": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/23x38x3/seg/label.seg": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/24x38x3/nrrd/label.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/24x38x3/screenshots/brainlab.jpg": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/24x38x3/screenshots/slicer.png": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/24x38x3/seg/label.seg": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/heart_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/liver.dcm": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/liver_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/liver_spine_gapped_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/liver_spine_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/partial_overlaps-1.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/partial_overlaps-2.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/partial_overlaps-3.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/partial_overlaps.dcm": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/sparse-labelmap-noppv.dcm": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/sparse-labelmap-ppv5.dcm": ("DicomSeriesError", "SEG"),
    "dcmqi/segmentations/sparse_labelmap_noppv_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/sparse_labelmap_ppv5_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/spine_seg.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/segmentations/spine_seg_label5.nrrd": ("FileFormatError", "no DICOM"),
    "dcmqi/sr-example/rwvm.dcm": ("DicomSeriesError", "RWV"),
    "dcmqi/sr-example/seg.dcm": ("DicomSeriesError", "SEG"),
    "dcmqi/sr-example/sr.dcm": ("DicomSeriesError", "SR"),
    "highdicom/README.md": ("FileFormatError", "no DICOM"),
    "highdicom/dx_image.dcm": ("DicomSeriesError", "DX"),
    "highdicom/frame_rgb.jpeg": ("FileFormatError", "no DICOM"),
    "highdicom/frame_rgb_empty.jpeg": ("FileFormatError", "no DICOM"),
    "highdicom/seg_image_cr_binary.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_ct_binary.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_ct_binary_fractional.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_ct_binary_overlap.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_ct_binary_single_frame.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_ct_true_fractional.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_control.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_control_labelmap.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_control_labelmap_palette_color.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_dots.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_dots_tiled_full.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/seg_image_sm_numbers.dcm": ("DicomSeriesError", "SEG"),
    "highdicom/sm_annotations.dcm": ("DicomSeriesError", "ANN"),
    "highdicom/sm_image.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_control.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_dots.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_grayscale.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_grayscale_reversed.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_jpegls.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_jpegls_nobot.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sm_image_numbers.dcm": ("DicomSeriesError", "SM"),
    "highdicom/sr_document.dcm": ("DicomSeriesError", "SR"),
    "highdicom/sr_document_with_multiple_groups.dcm": ("DicomSeriesError", "SR"),
    "pydicom/MR_truncated.dcm": (
        "FileFormatError",
        "MR_truncated.dcm: truncated, 8130 bytes of pixels where 8192 are described",
    ),
    "pydicom/UN_sequence.dcm": ("FileFormatError", "no Rows"),
    "pydicom/badVR.dcm": ("DicomSeriesError", "RTDOSE"),
    "pydicom/liver_1frame.dcm": ("DicomSeriesError", "SEG"),
    "pydicom/meta_missing_tsyntax.dcm": ("FileFormatError", "no SOP class"),
    "pydicom/nested_priv_SQ.dcm": ("FileFormatError", "no SOP class"),
    "pydicom/no_meta_group_length.dcm": ("DicomSeriesError", "no modality (RT Image Storage)"),
    "pydicom/reportsi.dcm": ("DicomSeriesError", "SR"),
    "pydicom/rtdose.dcm": ("DicomSeriesError", "RTDOSE"),
    "pydicom/rtplan.dcm": ("DicomSeriesError", "RTPLAN"),
    "pydicom/rtplan_truncated.dcm": ("DicomSeriesError", "RTPLAN"),
    "pydicom/test-SR.dcm": ("DicomSeriesError", "SR"),
    "pydicom-data/emri_small.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/emri_small_RLE.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/emri_small_big_endian.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/emri_small_jpeg_2k_lossless.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/emri_small_jpeg_ls_lossless.dcm": ("FileFormatError", "10 frames, 0 of them described"),
    "pydicom-data/explicit_VR-UN.dcm": ("DicomSeriesError", "one slice without SliceThickness"),
    "pydicom-data/liver.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/liver_deflate.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/liver_expb.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/liver_j2k.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/liver_nonbyte_aligned.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/liver_rle.dcm": ("DicomSeriesError", "SEG"),
    "pydicom-data/parametric_map_float.dcm": ("DicomSeriesError", "OT (Parametric Map Storage)"),
    "pyvista-dicom-stack/CITATION.txt": ("FileFormatError", "no DICOM"),
    "pyvista-dicom-stack/LICENSE.txt": ("FileFormatError", "no DICOM"),
    "pyvista-dicom-stack/metadata.csv": ("FileFormatError", "no DICOM"),
    "rt-utils/empty/dummy_rt.dcm": ("DicomSeriesError", "RTSTRUCT"),
    "rt-utils/mock_data/invalid_reference_rt.dcm": ("DicomSeriesError", "RTSTRUCT"),
    "rt-utils/mock_data/non_existent_reference_rt.dcm": ("DicomSeriesError", "RTSTRUCT"),
    "rt-utils/mock_data/rt.dcm": ("DicomSeriesError", "RTSTRUCT"),
    "rt-utils/one_slice_data/0.dcm": ("DicomSeriesError", "one slice without SliceThickness"),
    "rt-utils/oriented_data/0.dcm": ("DicomSeriesError", "one slice without SliceThickness"),
    "rt-utils/oriented_data/1.dcm": ("DicomSeriesError", "one slice without SliceThickness"),
    "rt-utils/oriented_data/2.dcm": ("DicomSeriesError", "one slice without SliceThickness"),
    "rt-utils/oriented_data/info.txt": ("FileFormatError", "no DICOM"),
}


@pytest.fixture
def oddities(shared_data):
    return shared_data / "dicom-oddities"


def test_every_file_has_its_expected_outcome_here(oddities):
    files = {str(path.relative_to(oddities)) for path in oddities.rglob("*") if path.is_file()}
    assert files == READ.keys() | REFUSED.keys()
    assert not READ.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_file_is_read_rightly(oddities, name):
    shape, modality, low, high = READ[name]
    volume = read_series(oddities / name)
    assert volume.data.shape == (1, *shape)
    assert volume.modality == modality
    assert (volume.data.min(), volume.data.max()) == (low, high)
    assert any(row.chosen for row in list_series(oddities / name))
    if name.endswith(".zip"):
        return
    image = sitk.ReadImage(str(oddities / name))
    columns_ras = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing() * [[-1], [-1], [1]]
    theirs = sitk.GetArrayFromImage(image).T
    if np.linalg.det(columns_ras) < 0:  # frames in the file's order, against the normal; ours follow the normal
        image = image[:, :, ::-1]
        theirs = theirs[..., ::-1]
    pads = bool(volume.data.min() == -1024 and theirs.min() < -1024)
    assert np.array_equal(volume.data[0], np.maximum(theirs, -1024) if pads else theirs)
    origin_ras = np.array(image.GetOrigin()) * [-1, -1, 1]
    assert np.abs(volume.grid.affine[:3, 3] - origin_ras).max() < 1e-3
    assert np.abs(volume.grid.affine[:3, :2] - columns_ras[:, :2]).max() < 1e-4


@pytest.mark.parametrize("name", REFUSED)
def test_file_is_refused_with_the_reason(oddities, name):
    error, says = REFUSED[name]
    with pytest.raises(getattr(vesalius.errors, error)) as caught:
        read_series(oddities / name)
    assert says in caught.value.got
    assert caught.value.do
    rows = list_series(oddities / name)
    assert not any(row.usable or row.chosen for row in rows)
    assert any(says in reason for row in rows for reason in row.reasons)


# -- folders


def by_itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_same_as_itk(volume, image, *, floor=None):
    theirs = sitk.GetArrayFromImage(image).T
    assert np.allclose(volume.data[0], theirs if floor is None else np.maximum(theirs, floor), atol=1e-3)
    ends = np.array([[0, 0, 0], np.array(volume.grid.shape) - 1])
    itk_ras = [np.array(image.TransformIndexToPhysicalPoint(end.tolist())) * [-1, -1, 1] for end in ends]
    assert np.abs(volume.grid.to_world(ends.astype(float)) - itk_ras).max() < 0.01


def test_oblique_slices_of_plastimatch_lie_where_itk_sees_them(oddities):
    volume = read_series(oddities / "rt-utils" / "oriented_data")
    assert volume.grid.shape == (100, 50, 3)
    assert_same_as_itk(volume, by_itk(oddities / "rt-utils" / "oriented_data"))


def test_ct_beside_structure_sets(oddities):
    volume = read_series(oddities / "rt-utils" / "mock_data")
    assert volume.grid.shape == (512, 512, 2)
    assert_same_as_itk(volume, by_itk(oddities / "rt-utils" / "mock_data"), floor=-1024)


@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
def test_legacy_converted_file_equals_the_slices_it_was_made_of(oddities, size):
    folder = oddities / "dcmqi" / "segmentations" / size
    slices, multi = read_series(folder / "image"), read_series(folder / "multiframe")
    assert np.array_equal(slices.data, multi.data)
    assert slices.grid.is_close(multi.grid)
    assert_same_as_itk(slices, by_itk(folder / "image"))


def test_enhanced_frames_lie_where_their_groups_say(oddities):
    volume = read_series(oddities / "pydicom-data" / "eCT_Supplemental.dcm")
    assert volume.grid.axis_codes == "RPI"  # rows run to the right: the normal points to the feet
    headers = volume.source.datasets()[0]
    for k, (_, frame) in enumerate(volume.source.slices):
        position = headers.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient
        here = volume.grid.to_world(np.array([0.0, 0.0, k]))
        assert np.allclose(here, np.array(position, float) * [-1, -1, 1])


def test_tilted_head_with_two_steps_is_filled_only_when_asked(oddities):
    path = oddities / "dcm_qa_ct" / "GE_head_gantry_tilt_plus18.5.zip"
    volume = read_series(path, fill_gaps=True)
    assert not is_orthogonal(volume.grid)
    assert volume.grid.shape[:2] == (512, 512)
    assert volume.grid.spacing_mm[2] == pytest.approx(4.22, abs=0.05)
    first, last = volume.grid.to_world(np.array([[0.0, 0, 0], [0, 0, volume.grid.shape[2] - 1]]))
    assert np.allclose(first, [125, 123.5404569, 5.8360586])
    assert np.allclose(last, [125, 123.5404569, 157.7760586])
    assert volume.data.min() >= -1024
    assert volume.source.is_filled


def test_seven_codecs_of_one_instance_are_not_one_volume(oddities):
    rows = list_series(oddities / "wg04")
    assert [row.num_files for row in rows if not row.usable] == [5, 5, 6]
    assert all("different images at 1 of 1 places" in row.reasons[0] for row in rows if not row.usable)
    with pytest.raises(vesalius.errors.DicomSeriesError, match="3 studies"):
        read_series(oddities / "wg04")


# -- real series beside the oddities


def test_real_series_compressed_by_jpeg_2000_agrees_with_itk(shared_data):
    folder = shared_data / "totalsegmentator-example" / "example_ct_dicom"
    volume = read_series(folder)
    assert volume.grid.shape == (512, 512, 20)
    assert volume.modality == "CT"
    assert volume.data.dtype == np.int16
    assert_same_as_itk(volume, by_itk(folder))


def test_real_series_in_an_lzma_zip_agrees_with_its_author_s_nifti(shared_data):
    import nibabel

    folder = shared_data / "rtstruct-ct"
    volume = read_series(folder / "STS_002_CT_dicom_rtstruct.zip").reoriented("RAS")
    reference = nibabel.as_closest_canonical(nibabel.load(folder / "STS_002_CT_image.nii.gz"))
    assert np.array_equal(volume.data[0], np.asanyarray(reference.dataobj))
    assert np.abs(volume.grid.affine - reference.affine).max() < 1e-3


@pytest.mark.parametrize("number", [1, 2, 3])
def test_real_mr_crops(shared_data, number):
    path = shared_data / "msd-hippocampus-mr" / "dicom_unlabelled" / f"Study{number}_HCropVolume.zip"
    volume = read_series(path)
    assert volume.modality == "MR"
    assert volume.data.dtype == np.int16
    assert volume.grid.spacing_mm == pytest.approx((1, 1, 1))
