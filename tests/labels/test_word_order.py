"""Two structures whose names have the same words are refused; two spellings of one are not."""

from __future__ import annotations

import pytest

from vesalius.errors import UsageError
from vesalius.labels.vista3d import TABLE
from vesalius.labels.word_order import known_structure, refuse_told_apart_by_order


def test_a_name_of_the_table_is_known_by_any_spelling() -> None:
    structure = known_structure("KidneyLeft")
    assert structure is not None
    assert structure.name == "left kidney"
    assert known_structure("level 2 node 3") is None


@pytest.mark.parametrize("other", ["level 3 node 2", "Level_3-Nodes 2"])
def test_the_order_of_words_alone_tells_no_structures_apart(other: str) -> None:
    with pytest.raises(UsageError, match="order of words") as caught:
        refuse_told_apart_by_order(["level 2 node 3", "level 2 node 3", "level 4 node 1", other], "a.json")
    assert caught.value.got == f"'level 2 node 3' and {other!r}"


def test_spellings_of_one_structure_are_welcome() -> None:
    names = ["left kidney", "kidney_left", "Lesion 1", "LESIONS_1", "lesion 2", "vertebrae L5"]
    refuse_told_apart_by_order(names, "a.json")
    refuse_told_apart_by_order([word for row in TABLE for word in (row.name, *row.synonyms)], "the table")
