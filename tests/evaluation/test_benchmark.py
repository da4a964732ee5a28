"""Every case is measured, and a model is asked for what its references hold."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evaluation.scenes import labels, written
from interactive.cubes import slabs
from interactive.small_session import SHAPE, scan
from vesalius.errors import FileFormatError, UnknownClassError, UsageError
from vesalius.evaluation.benchmark import askable, evaluate_files, evaluate_model, others
from vesalius.evaluation.label_files import pair_files
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import ScoringOptions
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import layer_of, write
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(1, "liver"), (2, "left kidney"), (3, "right kidney")])
NAMES = {1: "liver", 2: "spleen"}


def test_files_are_measured_case_by_case(tmp_path: Path) -> None:
    for case, shift in (("a", 0), ("b", 1)):
        written(tmp_path / "found" / f"{case}.nii.gz", {1: (2 + shift, 12 + shift, 10, 8)}, NAMES)
        written(tmp_path / "truth" / f"{case}.nii.gz", {1: (2, 12, 10, 8)}, NAMES)
    heard: list[str] = []
    pairs = pair_files(tmp_path / "found", tmp_path / "truth")
    evaluation = evaluate_files(pairs, on_case=heard.append)
    assert heard == ["a", "b"]
    assert [(s.case, s.name, s.dice) for s in evaluation.scores] == [
        ("a", "liver", 1.0),
        ("a", "spleen", 1.0),
        ("b", "liver", 0.9),
        ("b", "spleen", 1.0),
    ]
    (tmp_path / "found" / "b.nii.gz").write_bytes(b"damaged")
    with pytest.raises(FileFormatError):
        evaluate_files(pairs)  # a case that cannot be read is not left out


def test_a_class_that_a_result_does_not_name_counts_if_another_does_and_is_else_said_to_be_left_out(
    tmp_path: Path,
) -> None:
    boxes, names = {1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}, {1: "liver", 2: "spleen", 3: "aorta"}
    for case, found, truth in (("a", {1: "liver", 2: "Spleens"}, names), ("b", {1: "LIVER"}, names)):
        written(tmp_path / "found" / f"{case}.nii.gz", {label: boxes[label] for label in found}, found)
        written(tmp_path / "truth" / f"{case}.nii.gz", boxes, truth)
    evaluation = evaluate_files(pair_files(tmp_path / "found", tmp_path / "truth"))
    assert [(row.name, row.cases, row.missed) for row in evaluation.summary().classes] == [
        ("liver", 2, 0),
        ("spleen", 2, 1),
    ]
    assert evaluation.only_in_references == {"aorta": 2}


def test_a_result_folder_is_measured_with_its_layers(tmp_path: Path) -> None:
    names, box, tumour = {1: "liver", 26: "hepatic tumor"}, (2, 12, 10, 8), (4, 6, 3, 3)
    result = labels({1: box}, names, overlaps={"tumors": {26: tumour}})
    folder = tmp_path / "found" / "one"
    folder.mkdir(parents=True)
    write(result, folder / "labels.nii.gz")
    write(layer_of(result, "tumors"), folder / "overlap_tumors.nii.gz")
    (folder / "labels.json").write_text(json.dumps({"overlaps": {"tumors": "overlap_tumors.nii.gz"}}))
    written(tmp_path / "truth" / "one.nii.gz", {1: box, 26: tumour}, names)
    evaluation = evaluate_files(pair_files(tmp_path / "found", tmp_path / "truth"))
    assert [(score.name, score.dice) for score in evaluation.scores] == [("liver", 1.0), ("hepatic tumor", 1.0)]


def reference(names: dict[int, str]) -> ReferenceCase:
    data = np.zeros(SHAPE, np.uint8)
    data[:, :, 3:7] = 1  # where the stand-in for a model finds its class 1
    data[5:10, 5:10, 15:20] = 2
    volume = scan()
    return ReferenceCase(name="one", volume=volume, truth=LabelMap(data, volume.grid, names))


def test_a_model_is_asked_for_what_the_reference_holds() -> None:
    model, asked = slabs(), []

    def segment(volume: Volume, classes: list[str], **_: object) -> SimpleNamespace:
        asked.append(classes)
        finding = SimpleNamespace(name="liver", confidence=0.8)
        return SimpleNamespace(labels=model(volume, classes), findings=SimpleNamespace(classes=(finding,)))

    model.segment = segment  # type: ignore[method-assign]
    evaluation = evaluate_model(model, [reference({1: "Liver", 2: "larynx", 3: "Spleens"})])
    assert asked == [["liver", "spleen"]]
    liver, spleen = evaluation.scores
    assert (liver.name, liver.dice, liver.confidence) == ("Liver", pytest.approx(0.87, abs=0.02), 0.8)
    assert (spleen.name, spleen.is_false_positive, spleen.confidence) == ("Spleens", True, None)
    assert evaluation.only_in_references == {"larynx": 1}
    evaluate_model(model, [reference({1: "Liver", 3: "Spleens"})], options=ScoringOptions(classes=("spleen",)))
    assert asked[1] == ["spleen"]
    evaluate_model(model, [reference({1: "Liver"})], everything=True)
    assert asked[2] == ["liver", "spleen", "left kidney", "right kidney", "aorta"]


def test_what_can_be_asked_for() -> None:
    assert askable(["Left_Kidney", "liver", "larynx"], VOCABULARY) == ["left kidney", "liver"]
    assert askable(["kidney"], VOCABULARY) == ["kidney"]  # made of its parts
    assert askable(["liver", "left kidney"], VOCABULARY, chosen=["LIVER"]) == ["liver"]
    assert others(["kidney"], VOCABULARY) == ["liver"]  # not its parts
    with pytest.raises(UsageError, match="larynx"):
        askable(["larynx"], VOCABULARY)
    with pytest.raises(UsageError, match="without names"):
        askable([], VOCABULARY)


def test_what_a_reference_has_in_parts_is_asked_for_whole_where_the_model_does_not_name_them() -> None:
    lobes = [f"lung_{where}_lobe_left" for where in ("upper", "lower")]
    whole = Vocabulary.of([(1, "liver"), (2, "left lung"), (3, "right lung")])
    assert askable(["liver", *lobes], whole) == ["liver", "left lung"]
    assert askable(lobes, whole, chosen=["lung_left"]) == ["left lung"]
    assert askable(["liver", lobes[0]], whole) == ["liver"]
    parts = Vocabulary.of([(1, "left lung upper lobe"), (2, "left lung lower lobe"), (3, "left lung")])
    assert askable(lobes, parts) == ["left lung upper lobe", "left lung lower lobe"]


def test_a_class_to_compare_that_nobody_has_is_refused() -> None:
    with pytest.raises((UnknownClassError, UsageError)):
        evaluate_model(slabs(), [reference({1: "liver"})], options=ScoringOptions(classes=("aorta",)))
