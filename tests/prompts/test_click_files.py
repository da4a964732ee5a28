"""Clicks go to a file and back unchanged; what is half right is refused; labels of fiducials mean clicks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import DiskError, FileFormatError
from vesalius.prompts.click_files import click_of_fiducial, read_clicks, write_clicks
from vesalius.prompts.types import PointPrompt

GOOD = '{"target": "liver", "positive": true, "ras_mm": [1, -2.5, 3e2]}'

PLACES = st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3)
CLICKS = st.builds(
    lambda target, positive, place, in_world: PointPrompt(
        target=target, positive=positive, **{"ras_mm" if in_world else "voxel": place}
    ),
    st.sampled_from(["liver", "new:lesion", "17", "Leber größer"]),
    st.booleans(),
    PLACES,
    st.booleans(),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "clicks.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_agreed_form_is_read(tmp_path: Path) -> None:
    second = '{"voxel": [0, 1, 2.25], "positive": false, "target": "new:lesion"}'
    assert read_clicks(written(tmp_path, f'{{"clicks": [{GOOD}, {second}]}}')) == [
        PointPrompt(target="liver", positive=True, ras_mm=(1.0, -2.5, 300.0)),
        PointPrompt(target="new:lesion", positive=False, voxel=(0.0, 1.0, 2.25)),
    ]


@given(clicks=st.lists(CLICKS, max_size=4))
def test_clicks_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, clicks: list[PointPrompt]) -> None:
    path = tmp_path_factory.mktemp("clicks") / "clicks.json"
    write_clicks(path, clicks)
    assert read_clicks(path) == clicks
    assert set(json.loads(path.read_text())) == {"clicks"}
    assert [other.name for other in path.parent.iterdir()] == ["clicks.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"ras_mm": [1, 2]},
        {"ras_mm": [1, 2, 3, 4]},
        {"ras_mm": [1, 2, "3"]},
        {"ras_mm": [1, 2, True]},
        {"ras_mm": [1, 2, None]},
        {"ras_mm": "1, 2, 3"},
        {"ras_mm": [1, 2, 10**400]},
        {"target": 1},
        {"target": ""},
        {"target": "  "},
        {"target": None},
        {"target": "new:\ud83d"},
        {"positive": 1},
        {"positive": "yes"},
        {"voxel": [1, 2, 3]},
        {"comment": "hello"},
    ],
    ids=repr,
)
def test_a_click_that_is_half_right_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = written(tmp_path, json.dumps({"clicks": [json.loads(GOOD), {**json.loads(GOOD), **change}]}))
    with pytest.raises(FileFormatError, match=r"click 2 of clicks\.json") as caught:
        read_clicks(path)
    assert '"ras_mm": [12.0, -40.5, 88.0]' in caught.value.do


@pytest.mark.parametrize("key", ["target", "positive", "ras_mm"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    click = json.loads(GOOD)
    del click[key]
    with pytest.raises(FileFormatError, match=r"no place" if key == "ras_mm" else f"no '{key}'"):
        read_clicks(written(tmp_path, json.dumps({"clicks": [click]})))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{}",
        '{"clicks": {}}',
        '{"clicks": [1]}',
        '{"clicks": [null]}',
        '{"clicks": [], "version": 1}',
        '{"clicks": [], "clicks": []}',
        '{"clicks": [' + GOOD.replace("{", '{"positive": false, ') + "]}",
        '{"clicks": [' + GOOD.replace("3e2", "NaN") + "]}",
        '{"clicks": [' + GOOD.replace("3e2", "-Infinity") + "]}",
        '{"clicks": [' + GOOD.replace("3e2", "1e999") + "]}",
        '{"clicks": [' + GOOD.replace("3e2", "1" * 5000) + "]}",
        '{"clicks": [' + GOOD + "]",
        '{"clicks": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:60] or "empty",
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileFormatError, match=r"clicks\.json"):
        read_clicks(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clicks.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FileFormatError, match="UTF-8"):
        read_clicks(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "")
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: takes no disk
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(FileFormatError, match="1099511627776 bytes"):
        read_clicks(path)


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        read_clicks(tmp_path / name)


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clicks.json"
    write_clicks(path, [PointPrompt(target="liver", voxel=(1.0, 2.0, 3.0))])
    before = path.read_bytes()
    (tmp_path / ".clicks.json.part").mkdir()
    with pytest.raises(DiskError):
        write_clicks(path, [])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("label", "target", "positive"),
    [
        ("liver", "liver", True),
        ("liver+", "liver", True),
        ("liver-", "liver", False),
        (" left kidney - ", "left kidney", False),
        ("liver-1", "liver", True),
        ("liver--12", "liver", False),
        ("liver+-3", "liver", True),
        ("new:lesion 2", "new:lesion 2", True),
        ("vertebrae L1", "vertebrae L1", True),
        ("new:lesion", "new:lesion", True),
        ("new:lesion-", "new:lesion", False),
        ("new:lesion--4", "new:lesion", False),
        ("", "spleen", True),
        ("-", "spleen", False),
        ("+", "spleen", True),
        ("F-1", "spleen", True),
        ("F_2-7", "spleen", True),
        ("F-", "spleen", False),
    ],
)
def test_a_label_says_target_and_sign(label: str, target: str, positive: bool) -> None:
    click = click_of_fiducial(label, (1.0, 2.0, 3.0), default_target="spleen")
    assert click == PointPrompt(target=target, positive=positive, ras_mm=(1.0, 2.0, 3.0))


@pytest.mark.parametrize("label", ["", "-", "F-1", "F_1-2", "+"])
def test_a_label_that_names_nothing_needs_a_default(label: str) -> None:
    with pytest.raises(FileFormatError, match="--target"):
        click_of_fiducial(label, (1.0, 2.0, 3.0))


@pytest.mark.parametrize(("label", "default"), [("new:\ud83d-", None), ("F-1", "\udcff")])
def test_a_name_that_no_file_can_hold_is_refused(label: str, default: str | None) -> None:
    with pytest.raises(FileFormatError, match=r"\\ud"):
        click_of_fiducial(label, (1.0, 2.0, 3.0), default_target=default)
