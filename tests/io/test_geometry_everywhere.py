"""Every axis order, oblique and anisotropic, in every format, written by one library and read by another.

The scene is asymmetric along each axis and named by patient side: left must stay left. Where a library does not
hand out world coordinates itself, its header fields are turned into them here, by the format's definition.
"""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import highdicom as hd
import nibabel as nib
import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses
import slicerio
from scipy.spatial.transform import Rotation

from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import dicom_seg, dicom_writer, formats

ALL_CODES = [
    "".join(letters)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for letters in itertools.product(*order)
]
OBLIQUE = [(0.0, 0.0, 0.0), (20.0, -20.0, 20.0), (-20.0, 20.0, 11.0)]
TURNED = [
    pytest.param(codes, degrees, id=f"{codes}-{turn}", marks=() if turn == number % 3 else pytest.mark.slow)
    for number, codes in enumerate(ALL_CODES)
    for turn, degrees in enumerate(OBLIQUE)
]
"""Every axis order in every direction: one of the three at once, each in its turn, the others by ``make slow``."""
SPACING = {"R": 0.8, "A": 1.1, "S": 2.5}
RIGHT, LEFT, CORNER = 1, 2, 3
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def grid_with(codes: str, degrees: tuple[float, float, float]) -> Grid:
    """A grid whose axes point as ``codes`` say before it is turned by ``degrees``; uneven spacing."""
    affine = np.eye(4)
    for axis, letter in enumerate(codes):
        world = "RASLPI".index(letter)
        step = SPACING["RAS"[world % 3]]
        affine[:3, axis] = 0.0
        affine[world % 3, axis] = step if world < 3 else -step
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (31.5, -47.25, 113.0)
    return Grid((10, 11, 13), affine)


def scene(grid: Grid) -> LabelMap:
    """A block on the patient's right, another on the left, and a small one in the first voxel corner."""
    data = np.zeros(grid.shape, np.uint8)
    points = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    world = grid.to_world(points)
    centre = world.reshape(-1, 3).mean(0)
    inside = (points > 1).all(-1) & (points < np.array(grid.shape) - 2).all(-1)
    data[inside & (world[..., 0] > centre[0] + 0.5)] = RIGHT
    data[inside & (world[..., 0] < centre[0] - 0.9) & (world[..., 1] < centre[1])] = LEFT
    data[0, :2, :3] = CORNER
    return LabelMap(data, grid, {RIGHT: "right kidney", LEFT: "left kidney", CORNER: "corner"})


def centroids(data: np.ndarray, affine: np.ndarray, ids: dict[int, int] | None = None) -> dict[int, np.ndarray]:
    """World centroid of each label, by plain numpy."""
    found = {}
    for label in np.unique(data).tolist():
        if label:
            mean = np.argwhere(data == label).mean(0)
            found[ids[label] if ids else label] = affine[:3, :3] @ mean + affine[:3, 3]
    return found


def assert_in_place(found: dict[int, np.ndarray], labels: LabelMap) -> None:
    """Every label within a hundredth of a voxel of where it was, and right of left."""
    expected = centroids(labels.data, labels.grid.affine)
    assert set(found) == {RIGHT, LEFT, CORNER} == set(expected)
    for label, point in found.items():
        apart = labels.grid.to_voxel(point) - labels.grid.to_voxel(expected[label])
        assert np.abs(apart).max() < 0.01
    assert found[RIGHT][0] > found[LEFT][0] + 1.5


def read_with_nibabel(path: Path) -> dict[int, np.ndarray]:
    image = nib.load(path)
    assert np.allclose(image.get_sform(), image.get_qform(), atol=1e-4)
    return centroids(np.asarray(image.dataobj), image.affine)


def read_with_sitk(path: Path) -> dict[int, np.ndarray]:
    image = sitk.ReadImage(str(path))
    data = sitk.GetArrayFromImage(image)
    return {
        label: np.array(
            image.TransformContinuousIndexToPhysicalPoint(np.argwhere(data == label).mean(0)[::-1].tolist())
        )
        * [-1, -1, 1]
        for label in np.unique(data).tolist()
        if label
    }


def read_with_pynrrd(path: Path) -> dict[int, np.ndarray]:
    data, header = pynrrd.read(str(path))
    assert header["space"] == "left-posterior-superior"
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    return centroids(data, LPS @ affine)


def read_metaimage_by_hand(path: Path) -> dict[int, np.ndarray]:
    text, _, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    fields = dict(line.split(" = ", 1) for line in text.decode().splitlines())
    numbers = {key: np.array(value.split(), dtype=float) for key, value in fields.items() if " " in value}
    shape = numbers["DimSize"].astype(int)
    data = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(shape, order="F")
    affine = np.eye(4)
    affine[:3, :3] = numbers["TransformMatrix"].reshape(3, 3).T * numbers["ElementSpacing"]
    affine[:3, 3] = numbers["Offset"]
    return centroids(data, LPS @ affine)


def read_with_slicerio(path: Path) -> dict[int, np.ndarray]:
    segmentation = slicerio.read_segmentation(str(path))
    names = {segment["labelValue"]: segment["name"] for segment in segmentation["segments"]}
    assert names == {RIGHT: "right kidney", LEFT: "left kidney", CORNER: "corner"}
    return centroids(segmentation["voxels"], LPS @ segmentation["ijkToLPS"])


def read_with_highdicom(path: Path) -> dict[int, np.ndarray]:
    segmentation = hd.seg.segread(path)
    ids = {
        number: {"right kidney": RIGHT, "left kidney": LEFT, "corner": CORNER}[
            segmentation.get_segment_description(number).segment_label
        ]
        for number in segmentation.segment_numbers
    }
    volume = segmentation.get_volume(combine_segments=True)
    return centroids(volume.array, LPS @ volume.affine, ids)


WRITTEN_BY_US = [
    ("labels.nii.gz", read_with_nibabel),
    ("labels.nii", read_with_sitk),
    ("labels.nrrd", read_with_pynrrd),
    ("labels.nrrd", read_with_sitk),
    ("labels.mha", read_metaimage_by_hand),
    ("labels.seg.nrrd", read_with_slicerio),
    ("labels.seg.nrrd", read_with_pynrrd),
]


@pytest.mark.parametrize(("name", "reader"), WRITTEN_BY_US)
@pytest.mark.parametrize(("codes", "degrees"), TURNED)
def test_what_we_write_lies_where_others_read_it(
    codes: str, degrees: tuple[float, float, float], name: str, reader, tmp_path: Path
) -> None:
    labels = scene(grid_with(codes, degrees))
    formats.write(labels, tmp_path / name)
    assert_in_place(reader(tmp_path / name), labels)


def write_with_nibabel(labels: LabelMap, path: Path) -> None:
    nib.save(nib.Nifti1Image(labels.data, labels.grid.affine), path)


def write_with_nibabel_qform_only(labels: LabelMap, path: Path) -> None:
    image = nib.Nifti1Image(labels.data, None)
    image.set_qform(labels.grid.affine, 1)
    image.set_sform(None, 0)
    nib.save(image, path)


def write_with_sitk(labels: LabelMap, path: Path) -> None:
    lps = LPS @ labels.grid.affine
    image = sitk.GetImageFromArray(labels.data.T)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))


def write_with_pynrrd(labels: LabelMap, path: Path) -> None:
    affine = labels.grid.affine  # in RAS: the reader has to turn it
    header = {
        "space": "right-anterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    pynrrd.write(str(path), labels.data, header)


def write_with_slicerio(labels: LabelMap, path: Path) -> None:
    segments = [{"id": f"S{n}", "name": name, "labelValue": n, "layer": 0, "color": [1.0, 0.5, 0.2]}
                for n, name in labels.names.items()]  # fmt: skip
    content = {
        "voxels": labels.data,
        "ijkToLPS": LPS @ labels.grid.affine,
        "segments": segments,
        "encoding": "gzip",
    }
    slicerio.write_segmentation(str(path), content)


WRITTEN_BY_OTHERS = [
    ("labels.nii.gz", write_with_nibabel),
    ("labels.nii.gz", write_with_nibabel_qform_only),
    ("labels.nii", write_with_sitk),
    ("labels.nrrd", write_with_pynrrd),
    ("labels.nrrd", write_with_sitk),
    ("labels.mha", write_with_sitk),
    ("labels.seg.nrrd", write_with_slicerio),
]


@pytest.mark.parametrize(("name", "writer"), WRITTEN_BY_OTHERS)
@pytest.mark.parametrize(("codes", "degrees"), TURNED)
def test_what_others_write_lies_where_we_read_it(
    codes: str, degrees: tuple[float, float, float], name: str, writer, tmp_path: Path
) -> None:
    labels = scene(grid_with(codes, degrees))
    writer(labels, tmp_path / name)
    read = formats.read_labels(tmp_path / name)
    assert read.grid.shape == labels.grid.shape
    assert read.grid.is_close(labels.grid, tolerance_voxels=1e-3)
    assert (read.data == labels.data).all()
    assert_in_place(centroids(read.data, read.grid.affine), labels)


AT_ONCE = ("RAS", "LPI", "ASR", "PIL", "SRA", "ILP", "LPS", "ARS")
"""Every direction on every axis, orders of either hand; all 48 by ``make slow``: a series takes long to write."""
SERIES = [pytest.param(codes, marks=() if codes in AT_ONCE else pytest.mark.slow) for codes in ALL_CODES]


def test_the_orders_that_are_always_tried_put_every_direction_on_every_axis() -> None:
    assert {(axis, letter) for codes in AT_ONCE for axis, letter in enumerate(codes)} == {
        (axis, letter) for axis in range(3) for letter in "RLAPSI"
    }
    hands = {bool(np.linalg.det(grid_with(codes, OBLIQUE[0]).affine[:3, :3]) > 0) for codes in AT_ONCE}
    assert hands == {True, False}


@pytest.mark.parametrize("codes", SERIES)
def test_a_dicom_seg_lies_on_the_slices_of_its_series(codes: str, tmp_path: Path) -> None:
    labels = scene(grid_with(codes, OBLIQUE[1 + ALL_CODES.index(codes) % 2]))
    image = Volume((labels.data * 100.0)[None].astype(np.int16), labels.grid, "CT")
    dicom_writer.write_series(image, tmp_path / "ct")
    series = formats.read(tmp_path / "ct")
    path = tmp_path / "labels.seg.dcm"
    formats.write(labels, path, like=series)
    assert_in_place(read_with_highdicom(path), labels)
    ours = dicom_seg.read_labels(path)
    assert_in_place(centroids(ours.data, ours.grid.affine), labels)
    assert dict(ours.names) == dict(labels.names)
