"""Names inside files: any text comes back, and no entity bomb goes off."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import FileFormatError
from vesalius.io import label_table
from vesalius.io.coding import describe

printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(st.dictionaries(st.integers(1, 65535), printable, max_size=5))
def test_every_printable_name_comes_back(names: dict[int, str]) -> None:
    padded = label_table.to_xml(describe(names)) + b"\0" * 7
    assert label_table.from_extensions([b"something else", padded]) == names


def test_characters_xml_cannot_hold_become_spaces() -> None:
    assert label_table.from_extensions([label_table.to_xml(describe({1: "left\x00lung"}))]) == {1: "left lung"}


def test_a_single_label_is_read_too() -> None:
    written_elsewhere = (
        b'<?xml version="1.0" encoding="UTF-8"?> <CaretExtension><VolumeInformation Index="0"><LabelTable>\n'
        b'<Label Key="1" Red="0.0" Green="1.0" Blue="0.0" Alpha="1"><![CDATA[spleen]]></Label>\n'
        b"</LabelTable></VolumeInformation></CaretExtension>\n              "
    )
    assert label_table.from_extensions([written_elsewhere]) == {1: "spleen"}


def test_an_entity_bomb_does_not_go_off() -> None:
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n + 1, b"&e%d;" % n * 10) for n in range(9))
    bomb = (
        b'<!DOCTYPE x [<!ENTITY e0 "boom">'
        + entities
        + b"]><CaretExtension><Label Key='1'>&e9;</Label></CaretExtension>"
    )
    tracemalloc.start()
    assert label_table.from_extensions([bomb]) == {}
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"<CaretExtension>", b"<CaretExtension><Label/></CaretExtension>", b""])
def test_a_damaged_table_is_no_table(content: bytes) -> None:
    assert label_table.from_extensions([content]) == {}


def test_the_sidecar_of_the_same_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"1": "liver"}')
    image = tmp_path / "seg.nii.gz"
    assert label_table.from_sidecar(image) == {1: "liver"}
    (tmp_path / "seg.json").write_text('{"classes": [{"id": 2, "name": "spleen"}]}')
    assert label_table.from_sidecar(image) == {2: "spleen"}


@pytest.mark.parametrize(
    "content",
    ['{"Description": "x", "SpatialReference": "orig"}', '{"liver": 1}', "{}", '{"classes": []}'],
)
def test_a_sidecar_of_another_kind_names_nothing(content: str, tmp_path: Path) -> None:
    image = tmp_path / "sub-1_dseg.nii.gz"
    (tmp_path / "sub-1_dseg.json").write_text(content)
    assert label_table.from_sidecar(image) == {}
    (tmp_path / "labels.json").write_text('{"1": "liver"}')
    assert label_table.from_sidecar(image) == {1: "liver"}
    assert label_table.sidecar_of(image) == tmp_path / "labels.json"


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "[1, 2]",
        '{"classes": [3]}',
        '{"classes": "liver"}',
        '{"1": "liver", "Description": "x"}',
        r'{"1": "\ud83d"}',
        r'{"classes": [{"id": 1, "name": "\ud83d"}]}',
    ],
)
def test_a_damaged_sidecar_is_refused_and_no_other_stands_in_for_it(content: str, tmp_path: Path) -> None:
    image = tmp_path / "sub-1_dseg.nii.gz"
    (tmp_path / "sub-1_dseg.json").write_text(content)
    (tmp_path / "labels.json").write_text('{"1": "liver"}')
    with pytest.raises(FileFormatError, match=r"sub-1_dseg\.json"):
        label_table.from_sidecar(image)


def test_a_giant_sidecar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_table, "_SIDECAR_BYTES", 10)
    (tmp_path / "labels.json").write_text('{"1": "liver", "2": "spleen"}')
    with pytest.raises(FileFormatError):
        label_table.from_sidecar(tmp_path / "a.nii")
