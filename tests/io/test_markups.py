"""Fiducials of 3D Slicer: LPS and RAS, points that were never placed, and every file that is none.

The files here are written by hand from the published schema (markups-schema-v1.0.3.json).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from slicerio import fcsv_to_markups_json

from vesalius.errors import FileFormatError
from vesalius.io.markups import Fiducial, read_fiducials

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/"
    "Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
)


def point(label: str = "liver-1", position: object = (10.0, -20.5, 30.0), **more: object) -> dict[str, Any]:
    """A control point with what Slicer writes for each."""
    return {
        "id": "1",
        "label": label,
        "description": "",
        "associatedNodeID": "vtkMRMLScalarVolumeNode1",
        "position": list(position) if isinstance(position, tuple) else position,
        "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
        **more,
    }


def markup(*points: object, **changes: object) -> dict[str, Any]:
    return {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": list(points),
        "measurements": [],
        "display": {"visibility": True, "opacity": 1.0, "color": [0.4, 1.0, 1.0], "glyphType": "Sphere3D"},
        **changes,
    }


def saved(folder: Path, *markups: object, **changes: object) -> Path:
    path = folder / "F.mrk.json"
    path.write_text(json.dumps({"@schema": SCHEMA, "markups": list(markups), **changes}), encoding="utf-8")
    return path


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


@pytest.mark.parametrize("system", ["LPS", None])
def test_lps_becomes_ras_and_is_what_a_file_that_says_nothing_means(tmp_path: Path, system: str | None) -> None:
    one = markup(point(), point("spleen-", (1, 2, 3)))
    path = saved(tmp_path, one if system else without(one, "coordinateSystem"))
    assert read_fiducials(path) == [
        Fiducial("liver-1", (-10.0, 20.5, 30.0)),
        Fiducial("spleen-", (-1.0, -2.0, 3.0)),
    ]


def test_ras_stays_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, markup(point(), coordinateSystem="RAS"))
    assert read_fiducials(path) == [Fiducial("liver-1", (10.0, -20.5, 30.0))]


@pytest.mark.parametrize("unit", ["um", ["um", "UCUM", "micrometer"]])
def test_micrometres_become_millimetres(tmp_path: Path, unit: object) -> None:
    path = saved(tmp_path, markup(point(position=(1000.0, 2000.0, 3000.0)), coordinateUnits=unit))
    assert read_fiducials(path)[0].ras_mm == pytest.approx((-1.0, -2.0, 3.0))


def test_several_lists_and_little_detail_are_read_in_order(tmp_path: Path) -> None:
    bare = {"type": "Fiducial", "controlPoints": [{"position": [1, 2, 3]}]}
    path = saved(tmp_path, bare, {"type": "Fiducial"}, markup(point()))
    assert [found.label for found in read_fiducials(path)] == ["", "liver-1"]


def test_points_that_were_never_placed_are_no_points(tmp_path: Path) -> None:
    points = [
        point("a", positionStatus="undefined", position=[0, 0, 0]),
        without(point("b", positionStatus="undefined"), "position"),
        point("c", positionStatus="preview"),
        without(point("d"), "positionStatus"),
    ]
    assert [found.label for found in read_fiducials(saved(tmp_path, markup(*points)))] == ["d"]


def test_what_another_program_wrote_is_read(tmp_path: Path) -> None:
    fcsv = tmp_path / "F.fcsv"
    fcsv.write_text(
        "# Markups fiducial file version = 5.11\n# CoordinateSystem = LPS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "1,-6.28,-51.06,-10.21,0,0,0,1,1,1,0,liver-1,,vtkMRMLScalarVolumeNode1,2,0\n"
    )
    path = fcsv_to_markups_json(fcsv, tmp_path / "F.mrk.json")
    assert read_fiducials(path) == [Fiducial("liver-1", (6.28, 51.06, -10.21))]


@pytest.mark.parametrize("kind", ["Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI", "fiducial", None, 3])
def test_other_markups_are_refused(tmp_path: Path, kind: object) -> None:
    with pytest.raises(FileFormatError, match="point list") as caught:
        read_fiducials(saved(tmp_path, markup(point()), markup(point(), type=kind)))
    assert repr(str(kind)) in caught.value.got


@pytest.mark.parametrize(
    "position",
    [
        None,
        [],
        [1, 2],
        [1, 2, 3, 4],
        [1, 2, "3"],
        [1, 2, True],
        [1, 2, float("nan")],
        [float("inf"), 2, 3],
        "0 0 0",
    ],
    ids=repr,
)
def test_a_placed_point_without_a_place_is_refused(tmp_path: Path, position: object) -> None:
    with pytest.raises(FileFormatError, match="point 2"):
        read_fiducials(saved(tmp_path, markup(point(), point(position=position))))


@pytest.mark.parametrize(
    "change",
    [
        {"coordinateSystem": "LAS"},
        {"coordinateSystem": 0},
        {"coordinateSystem": ["LPS"]},
        {"coordinateUnits": "cm"},
        {"coordinateUnits": ["mm", "SNOMED", "millimeter"]},
        {"coordinateUnits": {}},
        {"controlPoints": {}},
        {"controlPoints": None},
        {"controlPoints": [7]},
        {"controlPoints": [{"label": 7, "position": [1, 2, 3]}]},
        {"controlPoints": [{"positionStatus": "somewhere", "position": [1, 2, 3]}]},
        {"controlPoints": [{"positionStatus": ["defined"], "position": [1, 2, 3]}]},
    ],
    ids=repr,
)
def test_a_list_we_would_have_to_guess_about_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(FileFormatError, match=r"F\.mrk\.json"):
        read_fiducials(saved(tmp_path, markup(**change)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"markups": []}',
        json.dumps({"@schema": SCHEMA}),
        json.dumps({"@schema": SCHEMA, "markups": {}}),
        json.dumps({"@schema": SCHEMA, "markups": [1]}),
        json.dumps({"@schema": SCHEMA.replace("v1.", "v2."), "markups": []}),
        json.dumps({"@schema": 1, "markups": []}),
        '{"clicks": []}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40] or "empty",
)
def test_files_that_are_no_markups_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "F.mrk.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"F\.mrk\.json"):
        read_fiducials(path)


def test_a_huge_or_absent_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "F.mrk.json"
    with pytest.raises(FileFormatError, match="No such file"):
        read_fiducials(path)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileFormatError, match="1099511627776 bytes"):
        read_fiducials(path)
