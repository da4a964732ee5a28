"""Targets of clicks: a name means one class or is refused; a new structure is asked for by name."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from monai.apps.vista3d.transforms import VistaPreTransformd

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.vista3d import STRUCTURES
from vesalius.labels.vocabulary import Vocabulary
from vesalius.prompts import ClickTarget, resolve_target
from vesalius.prompts.targets import free_id
from vesalius.spec import VistaArchitecture

PAIRS = [(structure.id, structure.name) for structure in STRUCTURES]
VISTA3D = Vocabulary.of(PAIRS)
ARCHITECTURE = VistaArchitecture()


def resolve(text: str, **new_ids: int) -> ClickTarget:
    return resolve_target(text, VISTA3D, ARCHITECTURE, new_ids)


@pytest.mark.parametrize("text", ["spleen", "Spleen ", "3"])
def test_a_class_is_named_by_name_or_id(text: str) -> None:
    assert resolve(text) == ClickTarget(3, "spleen", supported=True, special=False, layer=None)


def test_a_misspelt_class_is_refused_with_what_was_meant() -> None:
    """In MONAI it silently becomes a new id, and is clicked as zero-shot."""
    names = {"0": "background"} | {str(label): name for label, name in PAIRS}  # as in the bundle's metadata
    monai = VistaPreTransformd(keys="image", labels_dict=names, subclass={"2": [14, 5]})
    monais = monai({"label_prompt": ["splen"], "point_labels": [[1]]})
    assert monais["label_prompt"] == [133]  # 132 is the last supported: zero-shot
    with pytest.raises(UnknownClassError, match="did you mean 'spleen'"):
        resolve("splen")


@pytest.mark.parametrize("label", [s.id for s in STRUCTURES if s.is_special])
def test_clicks_on_special_classes_are_special(label: int) -> None:
    assert resolve(str(label)).special


@pytest.mark.parametrize("label", [28, 29, 117])
def test_clicks_on_what_monai_takes_for_special_are_not(label: int) -> None:
    """MONAI's list of special classes is of an older numbering: it misses 23, 24, 57 and 128, and has these."""
    monai = VistaPreTransformd(keys="image")
    assert monai({"label_prompt": [label], "point_labels": [[1, 0]]})["point_labels"] == [[3, 2]]
    assert monai({"label_prompt": [23], "point_labels": [[1, 0]]})["point_labels"] == [[1, 0]]
    assert not resolve(str(label)).special


def test_a_new_structure_gets_an_id_above_all_others_and_is_zero_shot() -> None:
    """In MONAI a class above 132 is zero-shot only if ``prompt_class`` is given; left out, it counts as known."""
    first = resolve("new: my lesion")
    assert first == ClickTarget(first.id, "my lesion", supported=False, special=False, layer="new")
    assert first.id > max(structure.id for structure in VISTA3D.structures)
    assert resolve("new:other", **{"my lesion": first.id}).id == first.id + 1
    assert resolve("new:my lesion", **{"my lesion": 240, "other": 241}).id == 240


def test_no_new_structure_is_called_255() -> None:
    """255 marks voxels that were not computed in files of the published bundle."""
    assert resolve("new:b", a=254).id == 256


def test_where_the_highest_id_is_taken_a_new_structure_gets_the_lowest_that_is_free() -> None:
    vocabulary = Vocabulary.of([(1, "liver"), (3, "spleen")])
    assert free_id(vocabulary, [65535]) == 2
    assert free_id(vocabulary, [65534]) == 65535
    most = set(range(1, 65536)) - {255}
    assert free_id(vocabulary, most - {60000}) == 60000
    with pytest.raises(UsageError, match="65535"):
        free_id(vocabulary, most)


@pytest.mark.parametrize(("text", "parts"), [("kidney", "left kidney, right kidney"), ("20", "and 1 more")])
def test_what_stands_for_several_classes_is_refused_with_its_parts(text: str, parts: str) -> None:
    with pytest.raises(UsageError, match=parts):
        resolve(text)


def test_a_group_is_refused_with_its_members() -> None:
    with pytest.raises(UsageError, match="left kidney"):
        resolve("kidneys")


def test_a_class_the_model_never_learnt_is_refused_and_can_be_clicked_as_new() -> None:
    with pytest.raises(UnknownClassError, match="new:"):
        resolve("rectum")
    assert not resolve("new:rectum").supported


def test_a_new_structure_is_the_same_however_it_is_spelled() -> None:
    known = {"node 1": 240, "node 2": 241}
    assert resolve("new:Node-1", **known) == ClickTarget(240, "node 1", False, False, "new")
    assert resolve("new:1 node", **known).id == 242, "the order of words tells names apart"


@pytest.mark.parametrize(
    "text",
    ["new:", "new:  ", "new:Liver", "new:Liver_", "new:kidney-left", "new:LeftKidney", "new:liver-vessel", ""],
)
def test_new_stands_before_a_name_the_model_does_not_know(text: str) -> None:
    with pytest.raises(UsageError):
        resolve(text)


@pytest.mark.parametrize("text", ["L1", "T1", "C2"])
def test_a_short_synonym_is_free_for_a_new_structure(text: str) -> None:
    assert resolve(text).supported, "a vertebra"
    made = resolve(f"new:{text}")
    assert (made.name, made.supported) == (text, False)


def test_a_new_structure_without_its_prefix_is_pointed_out() -> None:
    with pytest.raises(UnknownClassError, match="say `new:lesion`"):
        resolve("lesion", lesion=133)


def test_a_structure_inside_others_keeps_its_layer() -> None:
    assert resolve("hepatic tumor").layer == VISTA3D.overlap_layer(26) != "new"


def test_ids_above_the_last_supported_are_zero_shot_for_the_head() -> None:
    vocabulary = Vocabulary.of([*PAIRS, (140, "mouse heart")])
    assert not resolve_target("mouse heart", vocabulary, ARCHITECTURE, {}).supported
