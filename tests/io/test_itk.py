"""NRRD and MetaImage: read and written across libraries, damaged and hostile headers refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses

from vesalius.errors import FileFormatError, GeometryError, InputError, UnsafeFileError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import formats, itk, nrrd

SHAPE = (5, 6, 7)
GRID = Grid(SHAPE, np.array([[-0.7, 0, 0, 11], [0, 0.8, 0, -12], [0, 0, 2.5, 13], [0, 0, 0, 1.0]]))


def values(dtype: str = "int16") -> np.ndarray:
    return (np.arange(210).reshape(SHAPE) - (100 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)


def nrrd_file(path: Path, **changes: str | None) -> Path:
    """A raw NRRD of int16 whose header lines can be changed or (None) left out."""
    fields: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space dimension": None,
        "space": "left-posterior-superior",
        "sizes": "5 6 7",
        "space directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(1,2,3)",
    }
    fields |= {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + values().tobytes(order="F"))
    return path


def meta_file(path: Path, **changes: str) -> Path:
    """A raw MetaImage of int16 whose header lines can be changed."""
    fields = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
              "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "1 2 3",
              "ElementSpacing": "0.7 0.8 2.5", "DimSize": "5 6 7", "ElementType": "MET_SHORT",
              "ElementDataFile": "LOCAL"}  # fmt: skip
    text = "".join(f"{name} = {value}\n" for name, value in (fields | changes).items())
    path.write_bytes(text.encode() + values().tobytes(order="F"))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_an_image_comes_back_as_it_was(dtype: str, suffix: str, tmp_path: Path) -> None:
    formats.write(Volume(values(dtype)[None], GRID), tmp_path / f"a{suffix}")
    volume = formats.read(tmp_path / f"a{suffix}")
    assert volume.data.dtype == dtype
    assert (volume.data[0] == values(dtype)).all()
    assert volume.grid.is_close(GRID, tolerance_voxels=1e-6)
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{suffix}")))
    assert np.array_equal(by_itk.T, values(dtype))


def test_pynrrd_reads_what_we_write(tmp_path: Path) -> None:
    formats.write(Volume(values()[None], GRID), tmp_path / "a.nrrd")
    data, header = pynrrd.read(str(tmp_path / "a.nrrd"))
    assert (data == values()).all()
    assert header["space origin"].tolist() == [-11, 12, 13]


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_attached_and_detached_files_are_read(name: str, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(values().T)
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / name))
    volume = formats.read(tmp_path / name)
    assert (volume.data[0] == values()).all()
    assert volume.grid.affine[:3, 3].tolist() == [-1, -2, 3]


def test_hand_made_files_are_sound_before_they_are_damaged(tmp_path: Path) -> None:
    for path in (nrrd_file(tmp_path / "a.nrrd"), meta_file(tmp_path / "a.mha")):
        assert (formats.read(path).data[0] == values()).all()


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_truncated_anywhere_is_refused(suffix: str, compressed: bool, tenth: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / f"a{suffix}"), compressed)
    whole = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(InputError):
        formats.read(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize("sizes", ["50000 50000 50000", "4000 4000 4000", "99999999999 99999999999 9999999999"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_header_that_claims_gigabytes_is_refused_without_taking_them(
    sizes: str, compressed: bool, tmp_path: Path
) -> None:
    tracemalloc.start()
    with pytest.raises(InputError):
        formats.read(nrrd_file(tmp_path / "a.nrrd", sizes=sizes, encoding="gzip" if compressed else "raw"))
    with pytest.raises(InputError):
        formats.read(meta_file(tmp_path / "a.mha", DimSize=sizes, CompressedData=str(compressed)))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("elsewhere", ["../secret.raw", "/etc/passwd", "sub/a.raw", "..\\a.raw"])
def test_a_header_that_points_elsewhere_is_refused(elsewhere: str, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(values().tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (
        nrrd_file(folder / "a.nhdr", data_file=elsewhere),
        nrrd_file(folder / "a.nrrd", datafile=elsewhere),
        meta_file(folder / "a.mhd", ElementDataFile=elsewhere),
    ):
        with pytest.raises(UnsafeFileError):
            formats.read(path)


HIDDEN = "ElementDataFile = ../secret.raw\n"


@pytest.mark.parametrize(
    "tail",
    [
        "elementdatafile = LOCAL\n" + HIDDEN,
        HIDDEN.replace("=", ":") + "ElementDataFile = LOCAL\n",
        "Comment = x\rElementDataFile = LOCAL\n" + HIDDEN,
        "xElementDataFile = LOCAL\n" + HIDDEN,
        "Offset = 1 2\nElementDataFile = LOCAL\n" + "Name = x\n" * 120_000 + HIDDEN,  # beyond where a header ends
        " " + HIDDEN,
        "ElementDataFile\0x = ../secret.raw\nElementDataFile = LOCAL\n",
    ],
)
def test_no_spelling_hides_which_file_a_metaimage_header_names(tail: str, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(values().tobytes())
    (tmp_path / "folder").mkdir()
    path = meta_file(tmp_path / "folder" / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile = LOCAL\n", tail.encode()))
    with pytest.raises(UnsafeFileError):
        formats.read(path)


@pytest.mark.parametrize(
    "tail",
    [
        "data file: ../secret.raw\n# \x0cdata file: \n",
        "DATA FILE: ../secret.raw\n#\u2028data file: \n",
        "content: a\rdata file: ../secret.raw\n",
        "data file: ../secret:=raw\n",
        "datafile: ../secret.raw\ndata file: a.raw\n",
    ],
)
def test_no_spelling_hides_which_file_a_nrrd_header_names(tail: str, tmp_path: Path) -> None:
    for name in ("secret.raw", "secret:=raw"):
        (tmp_path / name).write_bytes(values().tobytes())
    (tmp_path / "folder").mkdir()
    path = nrrd_file(tmp_path / "folder" / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n" + tail.encode() + b"\n", 1))
    with pytest.raises(UnsafeFileError):
        formats.read(path)


@pytest.mark.parametrize("listed", ["LIST", "slice%03d.raw 1 7 1", "missing.raw"])
def test_a_header_of_several_or_missing_files_is_refused(listed: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError):
        formats.read(nrrd_file(tmp_path / "a.nhdr", data_file=listed))
    with pytest.raises(FileFormatError):
        formats.read(meta_file(tmp_path / "a.mhd", ElementDataFile=listed))


@pytest.mark.parametrize(
    "changes",
    [
        {"space": None, "space_origin": None, "space_directions": None, "spacings": "1 1 1"},
        {"space": None, "space_dimension": "3"},
        {"space": "scanner-xyz"},
    ],
)
def test_a_nrrd_that_does_not_say_left_from_right_is_refused(changes: dict, tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        formats.read(nrrd_file(tmp_path / "a.nrrd", **changes))


@pytest.mark.parametrize(
    ("lines", "is_placed"),
    [
        ("ElementSpacing = 0.7 0.8 2.5\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n", True),
        ("ElementSize = 0.7 0.8 2.5\nPosition = 1 2 3\n", True),
        ("", False),
        ("ElementSpacing = 0.7 0.8 2.5\n", False),
        ("elementspacing = 0.7 0.8 2.5\nOffset = 1 2 3\n", False),  # which SimpleITK does not know
        ("ElementSpacing = 0.7 0.8 2.5\nOffset =\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n", False),  # nor the next
    ],
)
def test_a_metaimage_that_does_not_say_where_it_lies_is_refused(
    lines: str, is_placed: bool, tmp_path: Path
) -> None:
    text = f"ObjectType = Image\nNDims = 3\n{lines}DimSize = 5 6 7\nElementType = MET_SHORT\n"
    path = tmp_path / "a.mha"
    path.write_bytes(f"{text}ElementDataFile = LOCAL\n".encode() + values().tobytes(order="F"))
    if is_placed:
        assert formats.read(path).grid.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    else:
        with pytest.raises(GeometryError, match="nobody knows where"):
            formats.read(path)


@pytest.mark.parametrize("field", ["TransformMatrix", "Offset", "DimSize", "ElementSpacing", "ElementDataFile"])
@pytest.mark.parametrize("before", ["Remark\n", "Name = x\nRemark\n\n \n", "Some\nRemark\n  ", "Remark\r"])
def test_a_line_without_a_value_takes_no_other_with_it(before: str, field: str, tmp_path: Path) -> None:
    path = meta_file(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(field.encode(), f"{before}{field}".encode()))
    with pytest.raises(FileFormatError, match="Remark"):
        formats.read(path)


@pytest.mark.parametrize("lines", [b"Offset\n9 9 9\nName = x\n", b"NDims\n4\nName = x\n"])
def test_a_field_without_a_sign_is_none(lines: bytes, tmp_path: Path) -> None:
    path = meta_file(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"Offset", lines + b"Offset"))  # SimpleITK would believe it
    with pytest.raises(FileFormatError, match="with the line"):
        formats.read(path)


def test_free_text_among_other_metadata_does_no_harm(tmp_path: Path) -> None:
    path = meta_file(tmp_path / "a.mha")
    text = b"Comment = scanned\non a Monday,\nwith contrast\nName = x\nTransformMatrix"
    path.write_bytes(path.read_bytes().replace(b"TransformMatrix", text))
    volume = formats.read(path)
    assert (volume.data[0] == values()).all()
    assert volume.grid.affine[:3, 3].tolist() == [-1, -2, 3]


@pytest.mark.parametrize("odd", [b"\xa0\n", b"\x1c"])  # white space in Python, not in SimpleITK
def test_odd_white_space_hides_no_field(odd: bytes, tmp_path: Path) -> None:
    path = meta_file(tmp_path / "a.mha")
    for field in (b"TransformMatrix", b"Offset"):
        path.write_bytes(path.read_bytes().replace(field, odd + field))
    with pytest.raises(InputError):
        formats.read(path)


def test_colour_time_and_slices_are_refused(tmp_path: Path) -> None:
    colour = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    flat = sitk.GetImageFromArray(np.zeros((5, 6), np.uint8))
    series = sitk.JoinSeries([sitk.GetImageFromArray(values().T)] * 2)
    for number, image in enumerate((colour, flat, series)):
        for suffix in (".nrrd", ".mha"):
            sitk.WriteImage(image, str(tmp_path / f"{number}{suffix}"))
            with pytest.raises(FileFormatError):
                formats.read(tmp_path / f"{number}{suffix}")


def test_nan_becomes_the_smallest_value_and_is_told(tmp_path: Path) -> None:
    data = values("float32")
    data[1, 1, 1] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(data.T), str(tmp_path / "a.mha"))
    volume = formats.read(tmp_path / "a.mha")
    assert volume.data[0, 1, 1, 1] == -100
    assert "1 of 210" in formats.repairs(volume)[0]


def test_names_come_from_the_sidecar(tmp_path: Path) -> None:
    labels = LabelMap(values("uint8") % 3, GRID, {1: "liver", 2: "spleen"})
    formats.write(labels, tmp_path / "a.mha")
    assert dict(formats.read_labels(tmp_path / "a.mha").names) == {1: "label 1", 2: "label 2"}
    (tmp_path / "a.json").write_text('{"classes": [{"id": 1, "name": "liver", "voxels": 3}]}')
    assert dict(formats.read_labels(tmp_path / "a.mha").names) == {1: "liver", 2: "label 2"}


@pytest.mark.parametrize("content", ["[", "[1, 2]", '{"classes": [3]}', '{"liver": 1}', "[" * 100_000])
def test_labels_json_that_makes_no_sense_is_refused(content: str, tmp_path: Path) -> None:
    formats.write(LabelMap(values("uint8") % 3, GRID, {}), tmp_path / "a.mha")
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(FileFormatError):
        formats.read_labels(tmp_path / "a.mha")


def test_real_files_are_read_where_they_lie(shared_data: Path) -> None:
    lung = itk.read_labels(shared_data / "cip-lung-ct" / "wholeLung-64.nrrd")
    image = itk.read(shared_data / "cip-lung-ct" / "ct-64.nrrd")
    assert lung.grid.is_close(image.grid)
    assert image.data[0][lung.data > 0].mean() < -600  # lungs are air: the two lie on each other


def test_a_header_is_looked_at_no_further_than_its_end(tmp_path: Path) -> None:
    path = nrrd_file(tmp_path / "a.nrrd", comment="x")
    header = nrrd.read_header(path)
    assert path.stat().st_size - header.length == values().nbytes
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\n" + b"a" * 100)
    with pytest.raises(FileFormatError):
        nrrd.read_header(tmp_path / "b.nrrd")
