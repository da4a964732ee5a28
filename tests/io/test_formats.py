"""read and write: formats told by content, labels on the very grid of their image, an answer to any input."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesalius.errors import FileFormatError, GeometryError, UsageError, VesaliusError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import dicom_writer, formats
from vesalius.io.origin import Origin

SHAPE = (6, 5, 4)
GRID = Grid(SHAPE, np.array([[-0.7, 0.01, 0, 11], [0.01, 0.7, 0, -12], [0, 0, 2.5, 13], [0, 0, 0, 1.0]]))
DATA = (np.arange(120).reshape(SHAPE) % 3).astype(np.uint8)
LABELS = LabelMap(DATA, GRID, {1: "liver", 2: "spleen"})
NAMES = ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.seg.nrrd", "a.seg.dcm"]


def series(folder: Path) -> Volume:
    grid = Grid(SHAPE, np.diag([-0.7, -0.7, 2.5, 1.0]))
    dicom_writer.write_series(Volume(DATA[None].astype(np.int16), grid, "CT"), folder)
    return formats.read(folder)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_brings_labels_and_places_back(name: str, tmp_path: Path) -> None:
    like = series(tmp_path / "ct")
    labels = LabelMap(DATA, like.grid, LABELS.names)
    formats.write(labels, tmp_path / name, like=like)
    read = formats.read_labels(tmp_path / name)
    assert read.grid.is_close(like.grid)
    assert (read.data == DATA).all()
    wanted = dict(LABELS.names) if name not in ("a.nrrd", "a.mha") else {1: "label 1", 2: "label 2"}
    assert dict(read.names) == wanted


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "ct", "ct.zip"])
def test_headers_alone_say_where_voxels_are(name: str, tmp_path: Path) -> None:
    volume = series(tmp_path / "ct")
    if name == "ct.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in (tmp_path / "ct").rglob("*"):
                archive.write(file, file.name)
    elif name != "ct":
        formats.write(volume, tmp_path / name)
    assert formats.read_grid(tmp_path / name).is_close(volume.grid)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    formats.write(LABELS, tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.bin")
    assert (formats.read_labels(tmp_path / "a.bin").data == DATA).all()
    (tmp_path / "plain.nii.gz").write_bytes(gzip.decompress((tmp_path / "a.bin").read_bytes()))
    assert (formats.read_labels(tmp_path / "plain.nii.gz").data == DATA).all()


def test_a_dicom_folder_a_zip_and_a_file_are_told_as_dicom(tmp_path: Path) -> None:
    volume = series(tmp_path / "ct")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in (tmp_path / "ct").rglob("*"):
            archive.write(file, file.name)
    zipped = formats.read(tmp_path / "ct.zip")
    assert (zipped.data == volume.data).all()
    assert zipped.grid.is_close(volume.grid)
    (file, *_) = [file for file in sorted((tmp_path / "ct").rglob("*")) if file.is_file()]
    assert formats.format_of(file) == "dicom"


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello world" * 100, b"\x1f\x8b", b"\x1f\x8bxxxxxxxxxx", bytes(600)]
)
def test_what_we_do_not_read_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(FileFormatError):
        formats.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("num_bytes", [3, 15, 60])
def test_a_gzip_file_cut_before_its_header_is_to_be_copied_again(num_bytes: int, tmp_path: Path) -> None:
    formats.write(LABELS, tmp_path / "a.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:num_bytes])
    with pytest.raises(FileFormatError) as caught:
        formats.read(tmp_path / "cut.nii.gz")
    assert caught.value.do == "copy or download it again"


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"gone\.nii"):
        formats.read(tmp_path / "gone.nii")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.nii", "a.nrrd", "a.mha", "a.seg.nrrd", "a.seg.dcm"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damage_anywhere_is_read_or_refused_never_a_crash(
    name: str, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    if not (tmp_path / name).exists():
        like = series(tmp_path / f"ct-{name}")
        formats.write(LabelMap(DATA, like.grid, LABELS.names), tmp_path / name, like=like)
    content = bytearray((tmp_path / name).read_bytes())
    for where, value in changes:
        content[min(int(where * len(content)), len(content) - 1)] = value
    damaged = tmp_path / f"damaged-{name}"
    damaged.write_bytes(content)
    for read in (formats.read, formats.read_labels):
        try:
            data = read(damaged).data
        except VesaliusError:
            continue
        assert data.nbytes < 1 << 24


def test_arrays_need_an_affine_and_nibabel_images_bring_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="affine"):
        formats.read(np.zeros(SHAPE))
    image = nib.Nifti1Image(DATA.astype(np.int16), GRID.affine)
    volume = formats.read(image)
    assert (volume.data[0] == DATA).all()
    assert np.array_equal(volume.grid.affine, image.affine)
    assert formats.read(volume) is volume
    nib.save(image, tmp_path / "a.nii.gz")
    on_disk = formats.read(nib.load(tmp_path / "a.nii.gz"))
    assert np.array_equal(on_disk.grid.affine, volume.grid.affine.astype(np.float32))


@pytest.mark.parametrize(("unit", "says"), [("mm", None), ("meter", "metres"), ("micron", "micrometres")])
def test_a_nibabel_image_lies_where_its_file_says(unit: str, says: str | None, tmp_path: Path) -> None:
    image = nib.Nifti1Image(DATA.astype(np.int16), GRID.affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = formats.read(nib.load(tmp_path / "a.nii.gz"))
    assert volume.grid.is_close(formats.read(tmp_path / "a.nii.gz").grid)
    assert [says in note for note in formats.repairs(volume)] == [True] * (says is not None)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.AnalyzeImage, nib.Spm2AnalyzeImage])
def test_a_nibabel_image_whose_affine_is_made_up_is_refused(kind: type, tmp_path: Path) -> None:
    image = kind(DATA.astype(np.int16), None)
    nib.save(image, tmp_path / "a.img" if kind is not nib.Nifti1Image else tmp_path / "a.nii")
    loaded = kind.load(tmp_path / ("a.img" if kind is not nib.Nifti1Image else "a.nii"))
    assert loaded.affine is not None
    with pytest.raises(GeometryError):
        formats.read(loaded)


def test_labels_turned_to_other_axes_come_back_onto_the_image(tmp_path: Path) -> None:
    formats.write(Volume(DATA[None].astype(np.int16), GRID), tmp_path / "in.nii.gz")
    image = formats.read(tmp_path / "in.nii.gz")
    formats.write(LABELS.reoriented("SAR"), tmp_path / "out.nii.gz", like=image)
    written = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(written.affine, nib.load(tmp_path / "in.nii.gz").affine)
    assert (np.asarray(written.dataobj) == DATA).all()


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    other = Volume(np.zeros((1, 7, 5, 4)), Grid((7, 5, 4), GRID.affine))
    with pytest.raises(GeometryError, match="resample"):
        formats.write(LABELS, tmp_path / "a.nii.gz", like=other)
    shifted = GRID.affine.copy()
    shifted[0, 3] += 0.7
    with pytest.raises(GeometryError):
        formats.write(LABELS, tmp_path / "a.nii.gz", like=Volume(np.zeros((1, *SHAPE)), Grid(SHAPE, shifted)))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_and_an_image_as_dicom_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.nii\.gz"):
        formats.write(LABELS, tmp_path / "a.png")
    with pytest.raises(UsageError):
        formats.write(Volume(DATA[None].astype(np.int16), GRID), tmp_path / "a.dcm")
    with pytest.raises(UsageError):
        formats.write(Volume(DATA[None].astype(np.int16), GRID), tmp_path / "a.seg.nrrd")


def test_several_channels_are_refused_by_every_image_format(tmp_path: Path) -> None:
    two = Volume(np.zeros((2, *SHAPE), np.int16), GRID)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        with pytest.raises(FileFormatError, match="2 channels"):
            formats.write(two, tmp_path / name)


def test_an_overlap_layer_can_be_a_file_of_its_own(tmp_path: Path) -> None:
    labels = LabelMap(
        DATA, GRID, {**LABELS.names, 9: "cyst"}, {"cysts": np.where(DATA == 1, 9, 0).astype(np.uint8)}
    )
    formats.write(formats.layer_of(labels, "cysts"), tmp_path / "overlap_cysts.nii.gz")
    read = formats.read_labels(tmp_path / "overlap_cysts.nii.gz")
    assert (read.mask("cyst") == (DATA == 1)).all()


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith((".gz", ".dcm"))])
def test_every_header_says_where_labels_are_not_validated(name: str, tmp_path: Path) -> None:
    origin = Origin(model="small", is_unvalidated=True)
    for file, made_by in (
        (tmp_path / name, origin),
        (tmp_path / f"validated_{name}", replace(origin, is_unvalidated=False)),
    ):
        formats.write(LABELS, file, origin=made_by)
        assert (b"UNVALIDATED, outside what the model was made for" in file.read_bytes()) == made_by.is_unvalidated
        assert (formats.read_labels(file).data == DATA).all()


def test_given_names_win_over_the_files(tmp_path: Path) -> None:
    formats.write(LABELS, tmp_path / "a.nii.gz")
    assert dict(formats.read_labels(tmp_path / "a.nii.gz", {1: "Leber"}).names) == {1: "Leber"}
    assert dict(formats.read_labels(LABELS, {1: "Leber", 2: "Milz"}).names) == {1: "Leber", 2: "Milz"}


@pytest.mark.parametrize("name", ["scan of müller.nii.gz", "名前.nrrd", "a b.mha", "x" * 200 + ".seg.nrrd"])
def test_names_with_spaces_and_letters_of_any_script(name: str, tmp_path: Path) -> None:
    formats.write(LABELS, tmp_path / name)
    assert (formats.read_labels(tmp_path / name).data == DATA).all()
