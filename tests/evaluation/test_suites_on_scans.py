"""Suites on a real scan, arranged as each data set comes: the Dice is that of two arrays, taken by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import vesalius
from evaluation.test_suites import references, write_layout
from vesalius.cli.main import main
from vesalius.evaluation.benchmark import evaluate_model
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.io.formats import read_labels, write

pytestmark = pytest.mark.slow

TOTAL: Mapping[str, int] = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "liver": 5,
    "stomach": 6,
    "pancreas": 7,
    "aorta": 52,
    "inferior vena cava": 63,
}
"""Structure -> its id in the silver labels of the scan."""
AMOS = {1: "spleen", 2: "right kidney", 3: "left kidney", 6: "liver", 7: "stomach", 8: "aorta", 10: "pancreas"}
IDS: Mapping[str, Mapping[int, str]] = {
    "vista3d-msd09": {1: "spleen"},
    "vista3d-btcv-abdomen": {1: "spleen", 2: "right kidney", 6: "liver", 7: "stomach", 8: "aorta", 11: "pancreas"},
    "vista3d-abdomenct-1k": {1: "liver", 3: "spleen", 4: "pancreas"},
    "vista3d-amos22": AMOS,
    "meddinov3-amos22": AMOS,
    "meddinov3-btcv": {1: "spleen", 6: "liver", 8: "aorta"},
}
"""Suite -> ids as the data set has them, written out here."""


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return vesalius.load("vesalius-small")


@pytest.fixture(scope="module")
def scan(shared_data: Path) -> tuple[Volume, LabelMap]:
    folder = shared_data / "totalsegmentator-example"
    volume, silver = (
        vesalius.read(folder / "example_ct_sm.nii.gz"),
        read_labels(folder / "example_ct_sm_seg117.nii.gz"),
    )
    return Volume(volume.data, volume.grid, "CT"), silver


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of what is in neither array, and rightly not found: 1."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / total) if total else 1.0


def arranged(silver: LabelMap, ids: Mapping[int, str]) -> LabelMap:
    """Return the scan's labels with the ids of another data set."""
    data = np.zeros(silver.data.shape, np.uint8)
    for label, name in ids.items():
        data[silver.data == TOTAL[name]] = label
    return LabelMap(data, silver.grid, {})


@pytest.mark.parametrize("name", IDS)
def test_a_scan_in_the_layout_of_a_data_set_gets_the_dice_of_its_arrays(
    name: str, model: Segmenter, scan: tuple[Volume, LabelMap], tmp_path: Path
) -> None:
    volume, silver = scan
    ids = IDS[name]
    truth = arranged(silver, ids)
    path = write_layout(tmp_path, name, volume, truth)
    found = {score.name: score.dice for score in evaluate_model(model, references(name, path, model)).scores}
    answer = model(volume, list(found))  # of the data set's classes those that the model knows, all at once
    drawn = {one: truth.data == label for label, one in ids.items()}
    absent = np.zeros(truth.data.shape, bool)
    expected = {one: dice(answer.mask(one), drawn.get(one, absent)) for one in found}
    assert found == pytest.approx(expected, abs=1e-6)
    assert {one for one, mask in drawn.items() if mask.any()} <= found.keys()
    assert max(found[one] for one, mask in drawn.items() if mask.any()) > 0.5, (
        "a scan of which nothing is found would prove nothing"
    )


def test_a_spleen_of_the_decathlon_is_measured_by_the_command(
    model: Segmenter, shared_data: Path, tmp_path: Path
) -> None:
    """A scan and a human label of Task09 as they come; mirrored, so that the model finds little."""
    folder = tmp_path / "Task09_Spleen"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
        shutil.copy(shared_data / "clara-spleen8" / part / "spleen_8.nii.gz", folder / part)
    entry = {"image": "./imagesTr/spleen_8.nii.gz", "label": "./labelsTr/spleen_8.nii.gz"}
    content = {"labels": {"0": "background", "1": "spleen"}, "modality": {"0": "CT"}, "training": [entry]}
    (folder / "dataset.json").write_text(json.dumps(content))
    words = ["--suite", "vista3d-msd09", "--data", str(folder), "--model", "vesalius-small", "--unvalidated"]
    assert main(["evaluate", *words, "-o", str(tmp_path / "out")]) == 0
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    volume = vesalius.read(folder / "imagesTr" / "spleen_8.nii.gz")
    truth = read_labels(folder / "labelsTr" / "spleen_8.nii.gz").data == 1
    how = SegmentOptions(unvalidated=True)
    answer = model(Volume(volume.data, volume.grid, "CT"), ["spleen"], options=how)
    (score,) = said["scores"]
    assert (score["class"], score["truth_ml"]) == ("spleen", pytest.approx(755.7, abs=0.1))
    assert score["dice"] == pytest.approx(dice(answer.mask("spleen"), truth), abs=1e-4)
    assert said["about"]["beware"].startswith("the authors' list has 8 test cases")


def test_a_file_for_each_structure_gets_the_dice_of_its_arrays(
    model: Segmenter, scan: tuple[Volume, LabelMap], tmp_path: Path
) -> None:
    volume, silver = scan
    files = {"spleen": "spleen", "liver": "liver", "kidney_right": "right kidney"}
    folder = tmp_path / "s0001"
    (folder / "segmentations").mkdir(parents=True)
    write(volume, folder / "ct.nii.gz")
    for file, name in files.items():
        mask = LabelMap((silver.data == TOTAL[name]).astype(np.uint8), silver.grid, {})
        write(mask, folder / "segmentations" / f"{file}.nii.gz")
    (tmp_path / "meta.csv").write_text("image_id;split\ns0001;test\n")
    found = evaluate_model(model, references("vista3d-totalsegmentator", tmp_path, model))
    answer = model(volume, list(files.values()))
    expected = {file: dice(answer.mask(name), silver.data == TOTAL[name]) for file, name in files.items()}
    assert {score.name: score.dice for score in found.scores} == pytest.approx(expected, abs=1e-6)
