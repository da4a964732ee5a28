"""What lists name together: equal names are one class; what contradicts is refused, and says which lists do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from vesalius.data.datalists.joint_classes import joint_classes, joint_modality
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UsageError
from vesalius.geometry.volume import Modality
from vesalius.labels.mapping import Meaning
from vesalius.labels.vocabulary import Vocabulary


def listed(
    name: str,
    meanings: Mapping[int, Meaning],
    *,
    classes: tuple[str | int, ...] | None = None,
    is_drawn: bool = True,
    modality: Modality = "unknown",
) -> DataList:
    label = Path(f"{name}-label.nii.gz") if is_drawn else None
    case = ListedCase(name="one", image=Path(f"{name}.nii.gz"), label=label, classes=classes)
    path = Path(f"{name}.json")
    return DataList(name=name, path=path, format="monai", cases=(case,), meanings=meanings, modality=modality)


def test_each_list_adds_what_no_list_before_it_names() -> None:
    lists = [
        listed("a", {1: "liver", 2: "hepatic tumor", 3: None}),
        listed("b", {1: "spleen", 2: "Liver"}),
        listed("c", {7: "HepaticTumour", 8: "my own organ"}),
    ]
    pairs = joint_classes(lists)
    assert pairs == ((1, "liver"), (2, "hepatic tumor"), (3, "spleen"), (4, "my own organ"))
    vocabulary = Vocabulary.of(pairs)
    assert [dict(one.mapping(vocabulary).classes) for one in lists] == [{1: 1, 2: 2}, {1: 3, 2: 1}, {7: 2, 8: 4}]
    assert joint_classes(lists[1:2]) == ((1, "spleen"), (2, "Liver"))


def test_a_list_in_which_nobody_drew_names_nothing() -> None:
    silent = listed("silent", {}, is_drawn=False)
    assert joint_classes([silent, listed("a", {1: "liver"}), listed("b", {1: "spleen"})]) == (
        (1, "liver"),
        (2, "spleen"),
    )
    with pytest.raises(UsageError, match=r"silent\.json"):
        joint_classes([silent])
    with pytest.raises(UsageError, match=r"drawn\.json"):
        joint_classes([listed("a", {1: "liver"}), listed("drawn", {})])


def test_ids_of_some_model_are_refused_where_there_are_no_names() -> None:
    with pytest.raises(UsageError, match=r"names of the structures of ids\.json"):
        joint_classes([listed("a", {1: "liver"}), listed("ids", {1: 3})])
    with pytest.raises(UsageError, match=r"(?s)`classes` of b\.json.*\[1\] in one"):
        joint_classes([listed("a", {1: "liver"}), listed("b", {1: "spleen"}, classes=(1, "liver"))])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_structure_drawn_whole_in_one_list_and_in_parts_in_another_is_refused(order: tuple[int, int]) -> None:
    lists = [listed("whole", {1: "kidney"}), listed("parts", {1: "left kidney", 2: "right kidney"})]
    with pytest.raises(
        UsageError, match=r"'kidney' in whole\.json, and 'left kidney', 'right kidney' in parts\.json"
    ):
        joint_classes([lists[at] for at in order])


def test_two_structures_of_one_list_that_are_one_in_another_are_refused() -> None:
    lists = [listed("a", {1: "tumour"}), listed("b", {1: "tumor", 2: "tumors"})]
    with pytest.raises(UsageError, match=r"'tumor' and 'tumors' in b\.json, both 'tumour' in a\.json"):
        joint_classes(lists)


def test_spellings_of_one_name_in_one_list_are_one_class() -> None:
    assert joint_classes([listed("a", {1: "Liver", 2: "liver", 3: "spleen"})]) == ((1, "Liver"), (2, "spleen"))


def test_one_modality_is_all_lists_or_is_refused() -> None:
    ct, mr, silent = listed("x", {}, modality="CT"), listed("y", {}, modality="MR"), listed("z", {})
    assert [joint_modality(some) for some in ([silent], [silent, ct], [ct, ct])] == ["unknown", "CT", "CT"]
    with pytest.raises(UsageError, match=r"CT in x\.json and MR in y\.json"):
        joint_modality([ct, silent, mr])
