"""The picture of a result means what it shows: sides, letters, shapes in millimetres, names and volumes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesalius.errors import GeometryError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.findings import Finding, Findings
from vesalius.labels.vista3d import STRUCTURES
from vesalius.views import preview
from vesalius.views.preview import png_bytes, render_preview

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, TUMOUR = 1, 5, 14, 26
COLOURS = {LIVER: (230, 40, 40), RIGHT_KIDNEY: (40, 220, 40), LEFT_KIDNEY: (60, 80, 240), TUMOUR: (240, 220, 0)}
SPACING = (4.0, 3.0, 5.0)
SHAPE = (60, 70, 40)
AXIAL, CORONAL, SAGITTAL, PROJECTION = range(4)


def torso() -> tuple[Volume, LabelMap]:
    """A body with two kidneys and a liver in RAS order: right kidney at high i, liver in front of it."""
    data = np.full((1, *SHAPE), -1000, dtype=np.int16)
    data[:, 5:55, 10:60, :] = 40
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[38:46, 16:26, 8:20] = RIGHT_KIDNEY
    labels[14:22, 16:26, 10:22] = LEFT_KIDNEY
    labels[36:52, 30:54, 12:30] = LIVER
    grid = Grid(SHAPE, np.array([[4.0, 0, 0, -120], [0, 3.0, 0, -100], [0, 0, 5.0, 50], [0, 0, 0, 1]]))
    names = {s.id: s.name for s in STRUCTURES}
    return Volume(data, grid, "CT"), LabelMap(labels, grid, names)


def findings_of(labels: LabelMap, *absent: int) -> Findings:
    found = []
    present = {int(v) for layer in (labels.data, *labels.overlaps.values()) for v in np.unique(layer) if v}
    for label in sorted(present | set(absent)):
        structure = STRUCTURES[label - 1]
        voxels = sum(int((layer == label).sum()) for layer in (labels.data, *labels.overlaps.values()))
        found.append(
            Finding(
                class_id=label,
                name=structure.name,
                colour=COLOURS.get(label, structure.colour),
                snomed=structure.snomed,
                volume_ml=voxels * labels.grid.voxel_volume_ml,
                voxels=voxels,
                mean_hu=40.0,
                confidence=None,
                touches_border=False,
                components=1,
            )
        )
    return Findings(tuple(found))


def panels(volume: Volume, labels: LabelMap) -> list[preview._Panel]:
    return preview._panels(volume.reoriented("RAS"), labels.reoriented("RAS"), findings_of(labels))


def near(pixels: np.ndarray, label: int) -> tuple[float, float, int]:
    """Return the mean row and column, in [0, 1], of the pixels whose hue is that of a structure, and how many."""
    colour = np.array(COLOURS[label], dtype=float)
    shown = pixels.astype(float) - pixels.min(axis=2, keepdims=True)
    wanted = colour - colour.min()
    norms = np.linalg.norm(shown, axis=2) * np.linalg.norm(wanted)
    alike = (shown @ wanted > 0.985 * norms) & (norms > 20 * np.linalg.norm(wanted))
    rows, columns = np.nonzero(alike)
    if not rows.size:
        return np.nan, np.nan, 0
    return rows.mean() / pixels.shape[0], columns.mean() / pixels.shape[1], rows.size


@pytest.mark.parametrize("which", [AXIAL, CORONAL])
def test_the_left_kidney_is_on_the_right_of_the_picture(which: int):
    pixels = panels(*torso())[which].pixels
    _, left, left_count = near(pixels, LEFT_KIDNEY)
    _, right, right_count = near(pixels, RIGHT_KIDNEY)
    assert min(left_count, right_count) > 500
    assert right < 0.5 < left
    assert left == pytest.approx(1 - 18 / 60, abs=0.03)  # i = 14..22 of 60, mirrored
    assert right == pytest.approx(1 - 42 / 60, abs=0.03)


def test_the_front_is_on_top_of_the_axial_slice_and_left_of_the_sagittal():
    drawn = panels(*torso())
    liver_row, _, _ = near(drawn[AXIAL].pixels, LIVER)
    kidney_row, _, _ = near(drawn[AXIAL].pixels, RIGHT_KIDNEY)
    assert liver_row < kidney_row
    _, liver_column, _ = near(drawn[SAGITTAL].pixels, LIVER)
    _, kidney_column, _ = near(drawn[SAGITTAL].pixels, RIGHT_KIDNEY)
    assert liver_column < kidney_column


def test_the_head_is_on_top():
    drawn = panels(*torso())
    for which in (SAGITTAL, PROJECTION):
        assert near(drawn[which].pixels, LIVER)[0] < near(drawn[which].pixels, RIGHT_KIDNEY)[0]


def test_millimetres_are_square():
    extent = [n * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
    for panel in panels(*torso()):
        height, width = panel.pixels.shape[:2]
        across, down = panel.plane.axes
        assert width / height == pytest.approx(extent[across] / extent[down], rel=0.01)
        assert panel.mm_per_pixel == pytest.approx(extent[across] / width, rel=0.01)
        assert width <= 608
        assert height <= 500


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIR", "IRP"])
def test_any_axis_order_gives_the_same_picture(codes: str):
    volume, labels = torso()
    expected = render_preview(volume, labels, findings_of(labels))
    turned = render_preview(volume.reoriented(codes), labels.reoriented(codes), findings_of(labels))
    header = 64  # the title states the shape as stored
    assert np.array_equal(np.asarray(expected)[header:], np.asarray(turned)[header:])


def test_all_axis_orders_keep_sides_with_oblique_axes():
    volume, labels = torso()
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    grid = Grid(SHAPE, turn @ volume.grid.affine)
    volume, labels = replace(volume, grid=grid), replace(labels, grid=grid)
    letters = [a + b + c for a, b, c in itertools.product("RL", "AP", "SI")]
    for codes in letters:
        pixels = panels(volume.reoriented(codes), labels.reoriented(codes))[AXIAL].pixels
        assert near(pixels, RIGHT_KIDNEY)[1] < near(pixels, LEFT_KIDNEY)[1]


def test_letters_stand_on_the_borders(monkeypatch: pytest.MonkeyPatch):
    placed = []
    monkeypatch.setattr(preview, "_letter", lambda draw, letter, place, anchor: placed.append((letter, place)))
    volume, labels = torso()
    render_preview(volume, labels, findings_of(labels))
    assert [letter for letter, _ in placed] == list("RLAPRLSIAPSIRLSI")
    for left, right, top, bottom in (placed[n : n + 4] for n in range(0, 16, 4)):
        assert left[1][0] < top[1][0] == bottom[1][0] < right[1][0]
        assert top[1][1] < left[1][1] == right[1][1] < bottom[1][1]


def test_a_letter_is_drawn_where_it_is_placed():
    canvas = Image.new("RGB", (60, 60))
    preview._letter(preview.ImageDraw.Draw(canvas), "L", (30, 30), "mm")
    ink = np.asarray(canvas)[..., 0] > 128
    rows, columns = np.nonzero(ink)
    assert abs(rows.mean() - 30) < 5
    assert ink[rows.max(), columns.min() : columns.max() + 1].mean() > 0.9  # the foot of an L is full
    assert ink[rows.min(), columns.min() : columns.max() + 1].mean() < 0.5  # its head is not


def test_tumours_of_an_overlap_layer_are_seen():
    volume, labels = torso()
    tumour = np.zeros(SHAPE, dtype=np.uint8)
    tumour[40:46, 38:46, 16:24] = TUMOUR
    both = replace(labels, overlaps={"tumours": tumour})
    drawn = preview._panels(volume, both, findings_of(both))
    assert near(drawn[AXIAL].pixels, TUMOUR)[2] > 200
    plain = preview._panels(volume, labels, findings_of(both))
    assert near(plain[AXIAL].pixels, TUMOUR)[2] < 20


def test_the_legend_grows_with_the_findings_and_shows_their_colours():
    volume, labels = torso()
    few = render_preview(volume, labels, findings_of(labels))
    findings = findings_of(labels)
    many = Findings(tuple(replace(findings.classes[0], class_id=200 + n, name=f"part {n}") for n in range(117)))
    more = render_preview(volume, labels, many)
    assert few.width == more.width == 1280
    assert more.height - few.height == 29 * 22  # 30 rows of four columns instead of one
    legend = np.asarray(few)[-60:]
    for label in (LIVER, LEFT_KIDNEY, RIGHT_KIDNEY):
        assert (legend == COLOURS[label]).all(axis=2).sum() > 100


def test_what_was_not_found_is_named_apart():
    volume, labels = torso()
    without = render_preview(volume, labels, findings_of(labels))
    with_line = render_preview(volume, labels, findings_of(labels, 3))
    assert with_line.height == without.height + 22


def test_long_names_are_shortened_to_their_column():
    draw = preview.ImageDraw.Draw(Image.new("RGB", (10, 10)))
    shortened = preview._shortened(draw, "a structure with a name beyond all measure " * 99, 200.0)
    assert shortened.endswith("...")
    assert draw.textlength(shortened, font=preview._font(14)) <= 200
    assert preview._shortened(draw, "liver", 200.0) == "liver"
    assert preview._shortened(draw, "line\nbreak", 200.0) == "line break"


def test_nothing_found_still_gives_a_picture():
    volume, labels = torso()
    empty = replace(labels, data=np.zeros_like(labels.data))
    shown = np.asarray(render_preview(volume, empty, Findings(())))
    assert shown.shape[1] == 1280
    assert shown[64:].max() > 100  # the slices are there
    grey = np.ptp(shown[64:].astype(int), axis=2)
    assert (grey > 20).mean() < 0.001  # and no colour


def test_the_result_is_not_changed_by_being_looked_at():
    volume, labels = torso()
    before = volume.data.copy(), labels.data.copy()
    render_preview(volume, labels, findings_of(labels))
    assert np.array_equal(before[0], volume.data)
    assert np.array_equal(before[1], labels.data)


def test_a_ct_that_does_not_say_so_is_windowed_as_one():
    volume, _ = torso()
    assert preview._window(replace(volume, modality="unknown")) == preview.SOFT_TISSUE_HU
    shifted = replace(volume, data=volume.data + 1024, modality="unknown")
    assert preview._window(shifted) != preview.SOFT_TISSUE_HU


def test_an_mr_image_is_windowed_by_its_own_values():
    volume, labels = torso()
    mr = replace(volume, data=(volume.data.astype(np.float32) + 1000) * 7, modality="MR")
    low, high = preview._window(mr)
    assert (low, high) == pytest.approx((0, 7280))
    flat = replace(volume, data=np.zeros((1, *SHAPE), dtype=np.float32), modality="unknown")
    assert render_preview(flat, labels, findings_of(labels)).width == 1280


def test_labels_of_another_grid_are_refused():
    volume, labels = torso()
    moved = Grid(SHAPE, volume.grid.affine + np.array([[0, 0, 0, 8.0]] + [[0] * 4] * 3))
    with pytest.raises(GeometryError):
        render_preview(volume, replace(labels, grid=moved), findings_of(labels))


@pytest.mark.parametrize("shape", [(1, 1, 1), (300, 2, 2), (2, 3, 700)])
def test_odd_shapes_are_drawn(shape: tuple[int, int, int]):
    grid = Grid(shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    labels = LabelMap(np.ones(shape, dtype=np.uint16), grid, {1: "liver"})
    volume = Volume(np.zeros((1, *shape), dtype=np.int16), grid, "CT")
    assert render_preview(volume, labels, findings_of(labels)).size[0] == 1280


def test_slices_of_a_thinned_volume_go_through_small_structures():
    shape = (8, 9, 1000)
    grid = Grid(shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    data = np.zeros(shape, dtype=np.uint8)
    data[3:6, 3:6, 806:810] = LIVER
    labels = LabelMap(data, grid, {LIVER: "liver"})
    axial = panels(Volume(np.zeros((1, *shape), dtype=np.int16), grid, "CT"), labels)[AXIAL]
    assert near(axial.pixels, LIVER)[2] > 100
    assert axial.caption.startswith(("axial, z = 806", "axial, z = 807", "axial, z = 808", "axial, z = 809"))


def test_png_bytes_are_the_picture():
    shown = render_preview(*torso(), findings_of(torso()[1]))
    again = Image.open(io.BytesIO(png_bytes(shown)))
    assert again.format == "PNG"
    assert np.array_equal(np.asarray(again), np.asarray(shown))


MEMORY_SCRIPT = """
import resource, sys
import numpy as np
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.findings import Finding, Findings
from vesalius.views.preview import render_preview
shape = (400, 400, 600)
grid = Grid(shape, np.diag([0.8, 0.8, 1.0, 1.0]))
image = np.memmap(sys.argv[1] + "/image", dtype=np.int16, mode="w+", shape=shape, order="F")
labels = np.memmap(sys.argv[1] + "/labels", dtype=np.uint8, mode="w+", shape=shape, order="F")
labels[100:200, 100:200, 100:300] = 1
finding = Finding(class_id=1, name="liver", colour=(200, 100, 50), snomed=None, volume_ml=1.0, voxels=9,
                  mean_hu=0.0, confidence=None, touches_border=False, components=1)
def anonymous():  # pages of mapped files can be given back; the others cannot
    rows = open("/proc/self/status").read().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("RssAnon")) // 1024
import threading, time
peak, done = [anonymous()], threading.Event()
def watch():
    while not done.is_set():
        peak.append(anonymous()); time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
render_preview(Volume(image[None], grid, "CT"), LabelMap(labels, grid, {1: "liver"}), Findings((finding,)))
done.set(); thread.join()
print(max(peak) - peak[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_mapped_volumes_are_not_loaded_whole(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 180  # MB; the image alone is 183, the labels 92, and a float copy 366
