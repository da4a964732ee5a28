"""Where voxels are: our reader against the truth, against GDCM's through SimpleITK, and against its own writer."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesalius.errors import DicomSeriesError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import is_orthogonal
from vesalius.geometry.volume import Volume
from vesalius.io.dicom_series import DicomSource, list_series, read_series, write_series

TILT = np.deg2rad(18.5)
OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial from above": (1, 0, 0, 0, -1, 0),
    "axial prone": (-1, 0, 0, 0, -1, 0),
    "axial mirrored rows": (-1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "coronal upward": (1, 0, 0, 0, 0, 1),
    "oblique": OBLIQUE,
    "oblique reversed": tuple(-v for v in OBLIQUE[:3]) + OBLIQUE[3:],
}


def centroid_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    weights = data.astype(np.float64)
    at = np.array([(weights.sum(axis=tuple({0, 1, 2} - {a})) * np.arange(data.shape[a])).sum() for a in range(3)])
    return affine[:3, :3] @ (at / weights.sum()) + affine[:3, 3]


def true_centroid_ras(slices) -> np.ndarray:
    """From the tags of each slice alone, pixel by pixel."""
    total, moment = 0.0, np.zeros(3)
    for dataset in slices:
        row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        r, c = np.mgrid[: dataset.Rows, : dataset.Columns]
        between_rows, between_columns = dataset.PixelSpacing
        points = np.array(dataset.ImagePositionPatient, float)
        points = points + r[..., None] * between_rows * column + c[..., None] * between_columns * row
        values = np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns).astype(float)
        total += values.sum()
        moment += (values[..., None] * points).sum(axis=(0, 1))
    return np.array([-1, -1, 1]) * moment / total


def by_itk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("shuffle", [None, 5])
def test_blob_lies_where_the_tags_say_and_where_itk_sees_it(by_hand, tmp_path, name, shuffle):
    slices = by_hand.slices(orientation=ORIENTATIONS[name])
    truth = true_centroid_ras(slices)
    volume = read_series(by_hand.save(slices, tmp_path / "ct", shuffle=shuffle))
    assert volume.data.shape == (1, 46, 34, 22)
    assert volume.data.dtype == np.int16
    ours = centroid_ras(volume.data[0], volume.grid.affine)
    assert np.abs(ours - truth).max() < 0.01
    sitk.WriteImage(by_itk(tmp_path / "ct"), tmp_path / "itk.nii")
    theirs = nibabel.load(tmp_path / "itk.nii")
    assert np.abs(centroid_ras(theirs.get_fdata(), theirs.affine) - truth).max() < 0.01
    assert np.array_equal(volume.data[0], theirs.get_fdata())
    assert np.abs(centroid_ras(volume.data[0, ::-1], volume.grid.affine) - truth).max() > 0.5


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_left_stays_left(by_hand, tmp_path, name):
    slices = by_hand.slices(orientation=ORIENTATIONS[name])
    volume = read_series(by_hand.save(slices, tmp_path)).reoriented("RAS")
    i, j, k = np.unravel_index(volume.data[0].argmax(), volume.grid.shape)
    brightest_ras = volume.grid.to_world(np.array([i, j, k], float))
    assert np.abs(brightest_ras - [-9, -3, -4]).max() < 2.5  # LPS (9, 3, -4): left, behind, below
    assert i < volume.grid.shape[0] / 2


def test_file_names_and_instance_numbers_do_not_matter(by_hand, tmp_path):
    slices = by_hand.slices()
    one = read_series(by_hand.save(slices, tmp_path / "sorted"))
    other = read_series(by_hand.save(slices[::-1], tmp_path / "shuffled", shuffle=11))
    assert np.array_equal(one.data, other.data)
    assert one.grid.is_close(other.grid)


def test_source_names_the_file_and_header_of_every_slice(by_hand, tmp_path):
    slices = by_hand.slices(shape=(8, 9, 5))
    source = read_series(by_hand.save(slices, tmp_path, shuffle=2)).source
    assert isinstance(source, DicomSource)
    headers = source.datasets()
    assert [h.SOPInstanceUID for h in headers] == [s.SOPInstanceUID for s in slices]
    assert "PixelData" not in headers[0]
    assert source.slices == tuple((k, 0) for k in range(5))
    assert "secret" not in repr(source).lower()


# -- tilted gantry


def tilted(by_hand, **tags):
    orientation = (1, 0, 0, 0, np.cos(TILT), -np.sin(TILT))
    return by_hand.slices(orientation=orientation, step=(0, 0, 1.7), **tags)


def test_tilted_gantry_gives_a_sheared_grid_with_every_voxel_in_its_place(by_hand, tmp_path):
    slices = tilted(by_hand)
    volume = read_series(by_hand.save(slices, tmp_path, shuffle=3))
    truth = true_centroid_ras(slices)
    assert np.abs(centroid_ras(volume.data[0], volume.grid.affine) - truth).max() < 0.01
    assert not is_orthogonal(volume.grid)
    assert "18.5 degrees" in " ".join(volume.source.repairs)
    upright = volume.grid.affine.copy()
    upright[:3, 2] = np.cross(upright[:3, 0], upright[:3, 1])
    upright[:3, 2] *= 1.7 * np.cos(TILT) / np.linalg.norm(upright[:3, 2])
    k = volume.grid.shape[2] - 1
    assert (
        np.abs((upright - volume.grid.affine)[:3, 2]).max() * k > 5
    )  # ignoring the tilt would move the last slice


@pytest.mark.parametrize("sign", [-1, 1])
def test_corner_voxels_of_a_tilted_series_lie_at_the_positions_in_the_header(by_hand, tmp_path, sign):
    orientation = (1, 0, 0, 0, np.cos(TILT), sign * np.sin(TILT))
    slices = by_hand.slices(orientation=orientation, step=(0, 0, -2.5), shape=(8, 9, 6))
    volume = read_series(by_hand.save(slices, tmp_path))
    first = volume.grid.to_world(np.array([[0, 0, k] for k in range(6)], float)) * [-1, -1, 1]
    expected = sorted((list(map(float, s.ImagePositionPatient)) for s in slices), key=lambda p: p[2] * -sign)
    normal = np.cross(orientation[:3], orientation[3:])
    expected = sorted(expected, key=lambda p: np.dot(p, normal))
    assert np.abs(first - expected).max() < 1e-3


def test_lean_by_rounding_is_no_tilt(by_hand, tmp_path):
    slices = by_hand.slices(step=(0.0004, 0, 2), shape=(8, 9, 20))
    assert is_orthogonal(read_series(by_hand.save(slices, tmp_path)).grid, tolerance=1e-9)


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize(("off", "is_said"), [(5e-5, False), (1.5e-3, True)])
def test_direction_cosines_that_were_mended_by_more_than_their_rounding_are_told(
    by_hand, tmp_path, off, is_said, count
):
    slices = by_hand.slices(shape=(8, 9, count), ImageOrientationPatient=[1, off, 0, 0, 1, 0])
    volume = read_series(by_hand.save(slices, tmp_path))
    assert is_orthogonal(volume.grid, tolerance=1e-9)
    notes = [note for note in volume.source.repairs if "direction cosines" in note]
    assert len(notes) == is_said
    assert all("off by 1.5e-03" in note for note in notes)


# -- steps


def test_rounding_of_positions_is_accepted(by_hand, tmp_path):
    slices = by_hand.slices(step=1.6667, shape=(8, 9, 40))
    for dataset in slices:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, round(float(z), 2)]
    volume = read_series(by_hand.save(slices, tmp_path))
    assert volume.grid.spacing_mm[2] == pytest.approx(1.6667, abs=2e-4)


@pytest.mark.parametrize(("step", "decimals"), [(0.625, 2), (1.25, 1), (0.3333, 2), (5.0, 0)])
def test_even_steps_written_with_few_decimals_are_even(by_hand, tmp_path, step, decimals):
    slices = by_hand.slices(step=step, shape=(8, 9, 40))
    for k, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-4, -5, round(k * step, decimals)]
    assert len(set(np.diff([float(s.ImagePositionPatient[2]) for s in slices]).round(6))) > (decimals > 0)
    volume = read_series(by_hand.save(slices, tmp_path))
    assert volume.grid.spacing_mm[2] == pytest.approx(step, rel=0.005)


@pytest.mark.parametrize("step", [0.02, 0.4, 5.0])
def test_missing_slice_is_missed_at_any_scale(by_hand, tmp_path, step):
    slices = by_hand.slices(step=step, spacing=(step, step), shape=(8, 9, 30))
    for k, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [0, 0, round(k * step, 2)]
    del slices[20]
    with pytest.raises(DicomSeriesError, match=r"between slices 20 and 21 of 29.* 1 missing"):
        read_series(by_hand.save(slices, tmp_path))


def test_missing_slice_is_refused_with_its_place(by_hand, tmp_path):
    slices = by_hand.slices(step=2.5, shape=(8, 9, 10))
    del slices[4]
    folder = by_hand.save(slices, tmp_path)
    with pytest.raises(DicomSeriesError) as caught:
        read_series(folder)
    assert "5.000 mm between slices 4 and 5" in caught.value.got
    assert "1 missing" in caught.value.got
    assert "fill_gaps" in caught.value.do
    (row,) = list_series(folder)
    assert not row.usable
    assert not row.chosen
    assert "5.000 mm" in row.reasons[0]


def test_missing_slice_is_interpolated_when_asked_for(by_hand, tmp_path):
    slices = by_hand.slices(step=2.5, shape=(20, 22, 10))
    truth = true_centroid_ras(slices)
    whole = read_series(by_hand.save(slices, tmp_path / "whole"))
    del slices[4]
    volume = read_series(by_hand.save(slices, tmp_path / "gap"), fill_gaps=True)
    assert volume.grid.is_close(whole.grid)
    kept = [k for k in range(10) if k != 4]
    assert np.array_equal(volume.data[..., kept], whole.data[..., kept])
    mean = (whole.data[..., 3].astype(float) + whole.data[..., 5]) / 2
    assert np.abs(volume.data[..., 4] - mean).max() <= 0.5
    assert np.abs(centroid_ras(volume.data[0], volume.grid.affine) - truth).max() < 0.5
    assert volume.source.is_filled
    assert "1 of 10" in " ".join(volume.source.repairs)


def test_two_steps_in_one_tilted_series_are_refused_and_filled_in_place(by_hand, tmp_path):
    fine = tilted(by_hand, shape=(34, 46, 31))
    slices = fine[:16] + fine[16::2]  # 1.7 mm below, 3.4 mm above, as head scans are
    folder = by_hand.save(slices, tmp_path)
    with pytest.raises(DicomSeriesError, match="more uneven steps"):
        read_series(folder)
    volume = read_series(folder, fill_gaps=True)
    assert volume.grid.shape == (46, 34, 31)
    assert np.abs(centroid_ras(volume.data[0], volume.grid.affine) - true_centroid_ras(fine)).max() < 0.3


def test_gap_too_wide_is_not_filled(by_hand, tmp_path):
    slices = by_hand.slices(step=2, shape=(8, 9, 20))
    folder = by_hand.save(slices[:6] + slices[12:], tmp_path)
    with pytest.raises(DicomSeriesError) as caught:
        read_series(folder, fill_gaps=True)
    assert "14.000 mm" in caught.value.got
    assert "fill_gaps" not in caught.value.do


def test_steps_that_change_slowly_are_refused(by_hand, tmp_path):
    slices = by_hand.slices(step=2, shape=(8, 9, 81))
    for k, dataset in enumerate(slices):  # each step within 1 % of the median, their sum is not
        dataset.ImagePositionPatient[2] = 2 * k + 0.00024 * k**2
    with pytest.raises(DicomSeriesError, match="change slowly"):
        read_series(by_hand.save(slices, tmp_path))


def test_slices_that_shift_sideways_are_refused(by_hand, tmp_path):
    slices = by_hand.slices(shape=(8, 9, 10))
    slices[5].ImagePositionPatient[0] += 0.6
    with pytest.raises(DicomSeriesError, match=r"sideways by 0\.60 mm"):
        read_series(by_hand.save(slices, tmp_path))


def test_images_in_one_plane_are_refused(by_hand, tmp_path):
    slices = by_hand.slices(step=(40, 0, 0), shape=(8, 9, 4))
    with pytest.raises(DicomSeriesError, match="beside each other"):
        read_series(by_hand.save(slices, tmp_path))


def test_one_slice_takes_its_thickness_and_says_so(by_hand, tmp_path):
    slices = by_hand.slices(shape=(8, 9, 1), SliceThickness=3.5)
    volume = read_series(by_hand.save(slices, tmp_path))
    assert volume.grid.spacing_mm == pytest.approx((0.9, 1.3, 3.5))
    assert "one slice" in volume.source.repairs[0]


def test_one_slice_without_thickness_is_refused(by_hand, tmp_path):
    slices = by_hand.slices(shape=(8, 9, 1), SliceThickness=None)
    with pytest.raises(DicomSeriesError, match="without SliceThickness"):
        read_series(by_hand.save(slices, tmp_path))


# -- our writer


@st.composite
def grids(draw) -> Grid:
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    norm = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / norm if norm > 0.1 else (1.0, 0.0, 0.0, 0.0)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = (
        rotation
        @ np.diag(draw(st.tuples(*[st.floats(0.2, 6)] * 3)))
        @ np.diag([1, 1, draw(st.sampled_from([-1, 1]))])
    )
    affine[:3, 3] = draw(st.tuples(*[st.floats(-900, 900)] * 3))
    return Grid((7, 5, 4), affine)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grid=grids())
def test_what_is_written_is_read_back_in_its_place(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round trip") / "ct"
    data = np.arange(7 * 5 * 4, dtype=np.int16).reshape(1, 7, 5, 4) * 23 - 1000
    write_series(Volume(data, grid, "CT"), folder)
    volume = read_series(folder)
    is_left_handed = np.linalg.det(grid.affine[:3, :3]) < 0
    back = volume.data[..., ::-1] if is_left_handed else volume.data
    assert np.array_equal(back, data)
    ends = np.array([[0, 0, 0], [6, 4, 3], [6, 0, 0]], float)
    flipped = ends * [1, 1, -1] + [0, 0, 3] if is_left_handed else ends
    assert np.abs(volume.grid.to_world(flipped) - grid.to_world(ends)).max() < 1e-4


def test_writing_twice_gives_the_same_bytes_and_itk_reads_them(tmp_path):
    grid = Grid((9, 7, 5), np.diag([-0.8, -0.9, 2.0, 1]))
    data = np.random.default_rng(0).integers(-1024, 2000, (1, 9, 7, 5)).astype(np.int16)
    for name in ("one", "two"):
        write_series(Volume(data, grid, "CT"), tmp_path / name, description="phantom")
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    image = by_itk(tmp_path / "one")
    assert np.array_equal(sitk.GetArrayFromImage(image).T, data[0])
    assert image.GetSpacing() == pytest.approx((0.8, 0.9, 2.0))


def test_writer_keeps_a_sheared_stack_and_refuses_sheared_slices(tmp_path):
    sheared = np.diag([-1.0, -1.0, 2.0, 1.0])
    sheared[1, 2] = 0.5
    data = np.zeros((1, 4, 4, 4), np.int16)
    write_series(Volume(data, Grid((4, 4, 4), sheared), "CT"), tmp_path / "tilted")
    assert np.allclose(read_series(tmp_path / "tilted").grid.affine, sheared)
    slanted = np.diag([-1.0, -1.0, 2.0, 1.0])
    slanted[0, 1] = 0.3
    with pytest.raises(GeometryError):
        write_series(Volume(data, Grid((4, 4, 4), slanted), "CT"), tmp_path / "slanted")
    assert not (tmp_path / "slanted").exists()


def test_writer_refuses_what_it_cannot_say(tmp_path):
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(UsageError, match="modality MR"):
        write_series(Volume(np.zeros((1, 4, 4, 4), np.int16), grid, "MR"), tmp_path / "mr")
    with pytest.raises(UsageError, match="99999"):
        write_series(Volume(np.full((1, 4, 4, 4), 99999, np.int32), grid, "CT"), tmp_path / "large")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(UsageError, match="with content"):
        write_series(Volume(np.zeros((1, 4, 4, 4), np.int16), grid, "CT"), tmp_path / "full")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
