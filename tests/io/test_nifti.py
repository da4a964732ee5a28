"""NIfTI: values as stored, geometry to the bit, damaged and hostile files refused before memory is taken."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vesalius.errors import FileFormatError, GeometryError, InputError, MemoryBudgetError, UnsafeFileError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import formats, nifti

AFFINE = np.array([[-0.7, 0.1, 0, 11], [0.1, 0.7, 0, -12], [0, 0, 2.5, 13], [0, 0, 0, 1.0]])
SHAPE = (5, 6, 7)


def values(dtype: str = "int16") -> np.ndarray:
    return (np.arange(210).reshape(SHAPE) - (100 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)


def header_of(path: Path) -> nib.Nifti1Header:
    return nib.load(path).header


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, **fields: object) -> Path:
    """Write with nibabel, then set header fields in the file behind nibabel's back."""
    image = nib.Nifti1Image(data, affine)
    nib.save(image, path)
    if fields:
        raw = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        header = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        raw[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_values_come_as_stored_in_their_own_type(dtype: str, suffix: str, tmp_path: Path) -> None:
    volume = nifti.read(save(tmp_path / f"a{suffix}", values(dtype)))
    assert volume.data.dtype == dtype
    assert (volume.data[0] == values(dtype)).all()
    assert formats.repairs(volume) == ()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_of_the_other_byte_order_reads_the_same(suffix: str, tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(values(), AFFINE, header), tmp_path / f"big{suffix}")
    assert header_of(tmp_path / f"big{suffix}").endianness == ">"
    volume = nifti.read(tmp_path / f"big{suffix}")
    assert volume.data.dtype == np.dtype("int16")
    assert volume.data.dtype.isnative
    assert (volume.data[0] == values()).all()
    assert np.allclose(volume.grid.affine, AFFINE, atol=1e-6)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(values(), AFFINE), tmp_path / "a.nii.gz")
    volume = nifti.read(tmp_path / "a.nii.gz")
    assert (volume.data[0] == values()).all()
    assert np.array_equal(volume.grid.affine, nib.load(tmp_path / "a.nii.gz").affine)


def test_a_pair_is_read_and_a_lone_header_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(values(), AFFINE), tmp_path / "a.hdr")
    assert (nifti.read(tmp_path / "a.hdr").data[0] == values()).all()
    (tmp_path / "a.img").unlink()
    with pytest.raises(FileFormatError, match=r"a\.img"):
        nifti.read(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "kind"),
    [
        ("uint16", 1.0, -1024.0, "int16"),
        ("int16", 1.0, 10.0, "int16"),
        ("int16", 2.0, -1.0, "int16"),
        ("uint16", 400.0, 0.0, "int32"),
        ("int16", 0.5, 0.0, "float32"),
    ],
)
def test_scaling_is_applied_and_whole_numbers_stay_whole(
    stored: str, slope: float, inter: float, kind: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.nii", values(stored), scl_slope=slope, scl_inter=inter)
    volume = nifti.read(path)
    assert volume.data.dtype == kind
    assert np.array_equal(volume.data[0], nib.load(path).get_fdata())


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_zero_or_nan_means_no_scaling(slope: float, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values(), scl_slope=slope, scl_inter=5.0)
    assert (nifti.read(path).data[0] == values()).all()


def test_nan_and_infinity_become_the_smallest_value_and_are_told(tmp_path: Path) -> None:
    data = values("float32")
    data[0, 0, :3] = [np.nan, np.inf, -np.inf]
    volume = nifti.read(save(tmp_path / "a.nii.gz", data))
    assert volume.data[0, 0, 0, :3].tolist() == [-97.0] * 3
    assert (volume.data[0, 1:] == data[1:]).all()
    (repair,) = formats.repairs(volume)
    assert repair.startswith("3 of 210 voxels")


def test_an_image_of_nothing_but_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="every voxel"):
        nifti.read(save(tmp_path / "a.nii", np.full(SHAPE, np.nan, np.float32)))


def test_one_volume_of_a_time_series_is_a_volume_and_two_are_not(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(values()[..., None, None], AFFINE), tmp_path / "one.nii")
    assert nifti.read(tmp_path / "one.nii").data.shape == (1, *SHAPE)
    nib.save(nib.Nifti1Image(np.stack([values()] * 2, -1), AFFINE), tmp_path / "two.nii")
    with pytest.raises(FileFormatError, match="2 volumes"):
        nifti.read(tmp_path / "two.nii")


def test_colour_and_complex_images_are_refused_by_name(tmp_path: Path) -> None:
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, AFFINE), tmp_path / "rgb.nii")
    with pytest.raises(FileFormatError, match="RGB"):
        nifti.read(tmp_path / "rgb.nii")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.complex64), AFFINE), tmp_path / "c.nii")
    with pytest.raises(FileFormatError, match="complex"):
        nifti.read(tmp_path / "c.nii")


def test_the_sform_wins_over_the_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(values(), AFFINE)
    image.set_qform(np.diag([3.0, 3.0, 3.0, 1.0]), 1)
    nib.save(image, tmp_path / "a.nii")
    assert np.allclose(nifti.read(tmp_path / "a.nii").grid.affine, AFFINE, atol=1e-6)


def test_a_file_that_does_not_say_left_from_right_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values(), sform_code=0, qform_code=0)
    with pytest.raises(GeometryError, match="both codes are 0"):
        nifti.read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": [0, 0, 0, 0]},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"sform_code": 0, "qform_code": 1, "quatern_b": 2.0},
    ],
)
def test_an_affine_that_places_nothing_is_refused(fields: dict, tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        nifti.read(save(tmp_path / "a.nii", values(), **fields))


def test_micrometres_become_millimetres_and_are_told(tmp_path: Path) -> None:
    volume = nifti.read(save(tmp_path / "a.nii", values(), xyzt_units=3))
    assert np.allclose(volume.grid.spacing_mm, np.linalg.norm(AFFINE[:3, :3], axis=0) / 1000)
    assert "micrometres" in formats.repairs(volume)[0]


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_truncated_anywhere_is_refused(suffix: str, tenth: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    whole = save(tmp_path / f"a{suffix}", noise).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(FileFormatError):
        formats.read(cut)


def test_a_flipped_byte_in_a_gzip_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    content = bytearray(save(tmp_path / "a.nii.gz", noise).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(FileFormatError):
        nifti.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    "dim",
    [
        [3, 32767, 32767, 32767, 1, 1, 1, 1],
        [7, 1024, 1024, 5000, 1, 1, 1, 1],
        [3, 2000, 2000, 1300, 1, 1, 1, 1],
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_claims_gigabytes_is_refused_without_taking_them(
    suffix: str, dim: list[int], tmp_path: Path
) -> None:
    path = save(tmp_path / f"a{suffix}", values(), dim=dim)
    tracemalloc.start()
    with pytest.raises(UnsafeFileError):
        nifti.read(path)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_an_overflow_of_nifti_2_sizes_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(values(), AFFINE), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[16:80] = np.array([3, 2**40, 2**40, 2**40, 1, 1, 1, 1], "<i8").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(UnsafeFileError):
        nifti.read(tmp_path / "a.nii")


def test_a_real_gzip_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 1300))
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(24):
            file.write(bytes(1 << 20))
    padded = (tmp_path / "bomb.nii.gz").read_bytes() + bytes(6 << 20)  # so that the claim is possible
    (tmp_path / "bomb.nii.gz").write_bytes(padded)
    with pytest.raises(UnsafeFileError):
        nifti.read(tmp_path / "bomb.nii.gz")


def test_a_volume_larger_than_the_free_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.io.limits.available_bytes", lambda: 100)  # a container's, too
    with pytest.raises(MemoryBudgetError):
        nifti.read(save(tmp_path / "a.nii", values()))


@pytest.mark.parametrize(
    "dim", [[3, 0, 6, 7, 1, 1, 1, 1], [3, -5, 6, 7, 1, 1, 1, 1], [0] * 8, [9] * 8, [2] + [5] * 7]
)
def test_axes_without_voxels_and_impossible_numbers_of_axes_are_refused(dim: list[int], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        nifti.read(save(tmp_path / "a.nii", values(), dim=dim))


def test_an_int16_image_takes_little_more_memory_than_itself(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((200, 200, 200), np.int16))
    tracemalloc.start()
    volume = nifti.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * volume.data.nbytes


# Writing


def rotated() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (20, -13, 7), degrees=True).as_matrix() * (0.7, 0.8, 2.5)
    affine[:3, 3] = (-111.1, 22.2, 333.3)
    return affine


@pytest.mark.parametrize("which", ["both", "sform", "qform", "disagreeing"])
def test_labels_of_a_nifti_image_have_its_very_affine(which: str, tmp_path: Path) -> None:
    image = nib.Nifti1Image(values(), None)
    image.set_sform(rotated() if which != "qform" else None, 2 if which != "qform" else 0)
    image.set_qform(rotated() if which != "sform" else None, 1 if which != "sform" else 0)
    if which == "disagreeing":
        image.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    nib.save(image, tmp_path / "in.nii.gz")
    volume = nifti.read(tmp_path / "in.nii.gz")
    labels = LabelMap(np.ones(SHAPE, np.uint8), volume.grid, {1: "liver"})
    formats.write(labels, tmp_path / "out.nii.gz", like=volume)
    before, after = nib.load(tmp_path / "in.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(before.affine, after.affine)
    assert before.shape == after.shape
    assert np.allclose(after.header.get_zooms(), volume.grid.spacing_mm)
    if which != "qform":
        assert after.header["sform_code"] == 2
        assert np.allclose(after.get_qform(), after.get_sform(), atol=1e-4)


def test_a_sheared_grid_is_written_as_sform_alone(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[1, 2] = 0.6
    nifti.write(Volume(values()[None], Grid(SHAPE, affine)), tmp_path / "a.nii")
    assert header_of(tmp_path / "a.nii")["qform_code"] == 0
    assert np.allclose(nib.load(tmp_path / "a.nii").affine, affine, atol=1e-6)


def test_names_are_where_totalsegmentator_looks_for_them(tmp_path: Path) -> None:
    names = {1: "liver", 2: "left <kidney> & cyst", 118: "Ähre"}
    nifti.write(LabelMap(np.ones(SHAPE, np.uint8), Grid(SHAPE, AFFINE), names), tmp_path / "a.nii.gz")
    extension = nib.load(tmp_path / "a.nii.gz").header.extensions[0].get_content()
    root = ElementTree.fromstring(extension.decode().rstrip("\0"))
    table = root.find("VolumeInformation").find("LabelTable")
    assert {int(entry.get("Key")): entry.text for entry in table.iter("Label")} == names
    assert dict(nifti.read_labels(tmp_path / "a.nii.gz").names) == names


def test_labels_and_names_of_totalsegmentator_are_read(shared_data: Path) -> None:
    labels = nifti.read_labels(shared_data / "totalsegmentator-example" / "example_ct_seg117.nii.gz")
    assert len(labels.names) == 117
    assert (labels.names[1], labels.names[5]) == ("spleen", "liver")
    liver, spleen = (labels.grid.to_world(np.argwhere(labels.data == n).mean(0)) for n in (5, 1))
    assert liver[0] > spleen[0]


@pytest.mark.parametrize(("highest", "kind"), [(255, "uint8"), (256, "uint16")])
def test_labels_are_stored_as_small_as_their_ids_allow(highest: int, kind: str, tmp_path: Path) -> None:
    data = np.zeros(SHAPE, np.int64)
    data[1, 2, 3] = highest
    nifti.write(LabelMap(data, Grid(SHAPE, AFFINE), {highest: "x"}), tmp_path / "a.nii.gz")
    assert header_of(tmp_path / "a.nii.gz").get_data_dtype() == kind
    assert (nifti.read_labels(tmp_path / "a.nii.gz").data == data).all()


def test_equal_labels_make_equal_files(tmp_path: Path) -> None:
    labels = LabelMap(np.ones(SHAPE, np.uint8), Grid(SHAPE, AFFINE), {1: "liver"})
    nifti.write(labels, tmp_path / "a.nii.gz")
    nifti.write(labels, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("order", ["C", "F", "view"])
def test_a_large_map_is_written_slab_by_slab_in_every_memory_order(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "_SLAB_BYTES", 64)
    data = values("uint8").transpose(2, 0, 1)[::-1] if order == "view" else values("uint8").copy(order=order)
    nifti.write(LabelMap(data, Grid(data.shape, AFFINE), {}), tmp_path / "a.nii.gz")
    assert (np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj) == data).all()


@pytest.mark.parametrize(
    "bad", [np.full(SHAPE, 0.5), np.full(SHAPE, -1), np.full(SHAPE, 70000), np.full(SHAPE, np.nan)]
)
def test_values_that_are_no_labels_are_refused(bad: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", bad.astype(np.float32))
    with pytest.raises(FileFormatError, match="label ids"):
        nifti.read_labels(path)


def test_whole_numbers_in_floats_are_labels(tmp_path: Path) -> None:
    labels = nifti.read_labels(save(tmp_path / "a.nii", (values("uint8") % 3).astype(np.float64)))
    assert labels.data.dtype == np.uint8
    assert dict(labels.names) == {1: "label 1", 2: "label 2"}
