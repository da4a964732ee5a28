"""Codes and colours of names: the table's where it knows them, never guessed where it does not."""

from __future__ import annotations

from vesalius.io.coding import describe
from vesalius.labels.vista3d import TABLE


def test_every_structure_of_the_table_has_a_code_and_keeps_its_name_and_id() -> None:
    names = {structure.id: structure.name for structure in TABLE}
    described = describe(names)
    assert {label: structure.name for label, structure in described.items()} == names
    assert all(structure.code is not None for structure in described.values())
    (liver,) = (structure for structure in described.values() if structure.name == "liver")
    assert liver.code is not None
    assert liver.code.type.value == "10200004"


def test_left_and_right_differ_in_their_modifier_alone() -> None:
    left, right = (describe({1: f"{side} kidney"})[1].code for side in ("left", "right"))
    assert left is not None
    assert right is not None
    assert left.type == right.type
    assert (left.modifier.meaning, right.modifier.meaning) == ("Left", "Right")  # type: ignore[union-attr]


def test_an_unknown_name_is_tissue_and_background_is_nothing() -> None:
    described = describe({0: "background", 7: "my own thing"})
    assert list(described) == [7]
    assert described[7].code is not None
    assert described[7].code.type.meaning == "Tissue"
    assert described[7].name == "my own thing"


def test_one_name_for_two_ids_is_described_twice() -> None:
    described = describe({3: "liver", 9: "liver"})
    assert [structure.id for structure in described.values()] == [3, 9]
