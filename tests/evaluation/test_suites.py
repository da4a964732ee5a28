"""Suites are what the papers' code says, and say what keeps a number from being the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from inference.small_model import small_network, small_spec
from interactive.cubes import cubes, slabs
from interactive.small_session import SHAPE, scan
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError
from vesalius.evaluation.benchmark import evaluate_model
from vesalius.evaluation.clicks import ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase, labelled, read_references
from vesalius.evaluation.suites import suite, suites
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.review import measure
from vesalius.inference.segmenter import Segmentation, Segmenter
from vesalius.io.formats import write
from vesalius.labels.vista3d import TABLE
from vesalius.models.vista3d import Vista3D

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "vista3d_classes.json"
NAMES = {structure.id: structure.name for structure in TABLE}
OFFICIAL = {
    "vista3d-msd03": "Task03",
    "vista3d-msd06": "Task06",
    "vista3d-msd07": "Task07",
    "vista3d-msd08": "Task08",
    "vista3d-msd09": "Task09",
    "vista3d-msd10": "Task10",
    "vista3d-aeropath": "AeroPath",
    "vista3d-btcv-abdomen": "BTCV-Abdomen",
    "vista3d-btcv-cervix": "BTCV-Cervix",
    "vista3d-verse": "VerSe",
    "vista3d-abdomenct-1k": "AbdomenCT-1K",
    "vista3d-amos22": "AMOS22",
    "vista3d-totalsegmentator": "TotalSegmentatorV2",
}


def listed(format_: str = "monai") -> DataList:
    return DataList(name="a", path=Path("a.json"), format=format_, cases=(), meanings={1: "lung"})  # type: ignore[arg-type]


def test_the_papers_sets_are_there() -> None:
    names = list(suites())
    assert sum(name in OFFICIAL for name in names) == 13
    assert sum(suites()[name].kind == "new" for name in names) == 4
    assert {name: suites()[name].shots[:3] for name in names if suites()[name].shots} == {
        "vista3d-word-few-shot": (1, 5, 10),
        "vista3d-mouse-few-shot": (1, 5, 10),
    }
    assert {name for name in names if suites()[name].tolerance_mm == 1.0} == {
        "meddinov3-amos22",
        "meddinov3-btcv",
        "meddinov3-kits23",
        "meddinov3-lits",
    }


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"no {REFERENCE.name} beside the checkout")
@pytest.mark.parametrize("name", OFFICIAL)
def test_label_maps_are_the_official_ones(name: str) -> None:
    official = json.loads(REFERENCE.read_text())["label_mappings_local_to_global"][OFFICIAL[name]]
    assert dict(suite(name).labels) == {local: NAMES[label] for local, label in official}


def test_a_suite_says_what_ids_mean_except_where_files_have_names() -> None:
    one = suite("vista3d-msd03")
    assert dict(one.applied_to(listed()).meanings) == {1: "liver", 2: "hepatic tumor"}
    assert one.applied_to(listed("totalsegmentator")).meanings == {1: "lung"}


def test_what_keeps_a_number_from_being_the_papers_is_said() -> None:
    assert suite("vista3d-msd09").remarks(8) == []
    assert suite("vista3d-msd09").remarks(9) == ["the authors' list has 8 test cases, this one 9"]
    assert suite("vista3d-kits").remarks(42)[-1] == "the authors' list has 210 cases, this one 42"
    assert "without them in the paper" in suite("meddinov3-lits").note
    assert all("its split is not published" in one.note for one in suites().values() if one.name.startswith("medd"))
    assert "pretraining" in suite("meddinov3-lits").remarks(1)[0]
    assert "fine-tunes on 1, 5, 10" in suite("vista3d-word-few-shot").remarks(30)[-1]


def test_zero_shot_suites_ask_all_cases_of_a_list() -> None:
    cases = {name: (one.split, one.cases) for name, one in suites().items() if one.kind == "new"}
    assert cases == {
        "vista3d-adrenal": ("all", 53),
        "vista3d-hcc-tace": ("all", 105),
        "vista3d-kits": ("all", 210),
        "vista3d-mouse": ("all", 140),
    }
    assert (suite("vista3d-mouse-few-shot").split, suite("vista3d-mouse-few-shot").cases) == (None, 28)


def test_an_unknown_suite_is_refused_with_what_may_be_meant() -> None:
    with pytest.raises(UsageError, match="did you mean vista3d-msd0"):
        suite("vista3d-msd3")


# By hand: label files as each data set has them, and a model whose masks are known

GRID = Grid((24, 6, 6), np.diag([3.0, 3.0, 3.0, 1.0]))
DRAWN: Mapping[str, Mapping[int, str]] = {
    "vista3d-msd03": {1: "liver", 2: "hepatic tumor"},
    "vista3d-msd06": {1: "lung tumor"},
    "vista3d-msd07": {1: "pancreas", 2: "pancreatic tumor"},
    "vista3d-msd08": {1: "hepatic vessel", 2: "hepatic tumor"},
    "vista3d-msd09": {1: "spleen"},
    "vista3d-msd10": {1: "colon cancer primaries"},
    "vista3d-aeropath": {2: "airway"},
    "vista3d-btcv-abdomen": {1: "spleen", 2: "right kidney", 3: "left kidney", 13: "left adrenal gland"},
    "vista3d-btcv-cervix": {1: "bladder", 2: "prostate", 4: "small bowel"},
    "vista3d-verse": {1: "vertebrae C1", 8: "vertebrae T1", 24: "vertebrae L5"},
    "vista3d-abdomenct-1k": {1: "liver", 3: "spleen", 4: "pancreas"},
    "vista3d-amos22": {1: "spleen", 4: "gallbladder", 10: "pancreas", 14: "bladder", 15: "prostate"},
    "vista3d-adrenal": {1: "adrenal tumor"},
    "vista3d-hcc-tace": {2: "liver lesion"},
    "vista3d-kits": {2: "kidney lesion"},
    "vista3d-mouse": {1: "mouse heart", 2: "mouse spinal cord", 3: "mouse right lung", 4: "mouse left lung"},
    "vista3d-word-few-shot": {1: "liver", 2: "spleen", 10: "colon", 15: "left femur", 16: "right femur"},
    "vista3d-mouse-few-shot": {1: "mouse heart", 4: "mouse left lung"},
    "meddinov3-amos22": {1: "spleen", 8: "aorta"},
    "meddinov3-btcv": {6: "liver", 8: "aorta"},
    "meddinov3-kits23": {1: "kidney", 2: "kidney tumor", 3: "kidney cyst"},
    "meddinov3-lits": {1: "liver", 2: "hepatic tumor"},
}
"""Suite -> ids in its files and what the papers call them, written out here and nowhere taken from the table."""
OF_TOTALSEGMENTATOR: Mapping[str, str] = {
    "kidney_right": "right kidney",
    "spleen": "spleen",
    "vertebrae_L5": "vertebrae L5",
}
ORGANS_WITH_TUMOURS = ("vista3d-msd03", "vista3d-msd07", "meddinov3-lits")


def slab(position: int, *, shift: int = 0) -> tuple[slice, ...]:
    """Three of every four planes; shifted by one it shares two of them."""
    return (slice(4 * position + shift, 4 * position + 3 + shift),)


def draw(ids: Sequence[int]) -> LabelMap:
    data = np.zeros(GRID.shape, np.uint8)
    for position, label in enumerate(ids):
        data[slab(position)] = label
    return LabelMap(data, GRID, {})


@cache
def any_network() -> Vista3D:
    return small_network(small_spec())


class Known(Segmenter):
    """Finds every other structure as it is, and the others a plane away."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(any_network(), small_spec(vocabulary=tuple(enumerate(names, start=1)), everything=()))
        self._positions = {name: position for position, name in enumerate(names)}

    def segment(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: object = None, progress: object = None
    ) -> Segmentation:
        targets, data = self.vocabulary.resolve(classes), np.zeros(volume.grid.shape, np.uint8)
        for target in targets:
            position = self._positions[target.name]
            data[slab(position, shift=position % 2)] = target.id
        labels = LabelMap(data, volume.grid, {target.id: target.name for target in targets})
        findings = measure(volume, labels, targets, self.vocabulary)
        return Segmentation(labels=labels, findings=findings, plan=None, seconds={}, probability={})


def references(name: str, path: Path, model: Segmenter) -> list[ReferenceCase]:
    """Read them as ``vesalius evaluate --suite`` does."""
    one = suite(name)
    told = one.applied_to(read_list(path, meanings=one.labels))
    _, cases = labelled(told, one.split)
    return list(read_references(told, cases, model.vocabulary))


def write_layout(folder: Path, name: str, image: Volume, truth: LabelMap) -> Path:
    """Write a case as the suite's data set comes: nnU-Net's folder, the decathlon's, or VISTA3D's lists."""
    if name.startswith("meddinov3"):
        paths = ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
        labels: dict[str, object] = {"background": 0, **{f"thing {n}": n for n in suite(name).labels}}
        if name == "meddinov3-kits23":
            labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
        content = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    elif "msd" in name:
        paths = ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
        entry = dict(zip(("image", "label"), (f"./{path}" for path in paths), strict=True))
        content = {"labels": {"0": "background", "1": "thing"}, "modality": {"0": "CT"}, "training": [entry]}
    else:
        paths = ("all/a.nii.gz", "all/a_seg.nii.gz")
        entry = dict(zip(("image", "label"), paths, strict=True))
        content = {"label_dict": {"1": "thing"}, "training": [], "testing": [entry], "modality": "CT"}
    for path, what in zip(paths, (image, truth), strict=True):
        (folder / path).parent.mkdir(exist_ok=True)
        write(what, folder / path)
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_every_suite_is_measured_by_hand() -> None:
    assert {*DRAWN, "vista3d-totalsegmentator"} == set(suites())


@pytest.mark.parametrize("name", [name for name in DRAWN if suites()[name].kind != "new"])
def test_classes_of_a_data_set_get_the_dice_that_is_known(name: str, tmp_path: Path) -> None:
    ids, names = list(DRAWN[name]), list(DRAWN[name].values())
    image = Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "CT")
    path = write_layout(tmp_path, name, image, draw(ids))
    model = Known(names)
    found = evaluate_model(model, references(name, path, model))
    expected = {one: 1.0 if position % 2 == 0 else 2 * 2 / (3 + 3) for position, one in enumerate(names)}
    if name in ORGANS_WITH_TUMOURS:  # an organ is compared with its tumours: five of six planes each
        expected[names[0]] = 2 * (3 + 2) / (6 + 6)
    assert {score.name: score.dice for score in found.scores} == pytest.approx(expected)


def test_a_file_for_each_structure_gets_the_dice_that_is_known(tmp_path: Path) -> None:
    scan_folder = tmp_path / "s0001"
    (scan_folder / "segmentations").mkdir(parents=True)
    write(Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "CT"), scan_folder / "ct.nii.gz")
    for position, file in enumerate(OF_TOTALSEGMENTATOR):
        mask = np.zeros(GRID.shape, np.uint8)
        mask[slab(position)] = 1
        write(LabelMap(mask, GRID, {}), scan_folder / "segmentations" / f"{file}.nii.gz")
    (tmp_path / "meta.csv").write_text("image_id;split\ns0001;test\n")
    model = Known(list(OF_TOTALSEGMENTATOR.values()))
    found = evaluate_model(model, references("vista3d-totalsegmentator", tmp_path, model))
    dice = {score.name: score.dice for score in found.scores}
    assert dice == pytest.approx({"kidney_right": 1.0, "spleen": 2 / 3, "vertebrae_L5": 1.0})


@pytest.mark.parametrize("name", [name for name in DRAWN if suites()[name].kind == "new"])
def test_structures_without_a_name_get_the_dice_of_the_clicks_that_are_known(name: str, tmp_path: Path) -> None:
    image, data = scan(), np.zeros(SHAPE, np.uint8)
    for position, label in enumerate(DRAWN[name]):
        data[2:9, 1 + 7 * position : 6 + 7 * position, 8:13] = label  # 7 x 5 x 5; a click is the 5 x 5 x 5 within
    model = slabs()
    path = write_layout(tmp_path, name, image, LabelMap(data, image.grid, {}))
    protocol = ClickProtocol(clicks=1, start="nothing", new=True, jitter_mm=0.0)
    with cubes():
        result = evaluate_clicks(model, references(name, path, model), protocol)
    assert {curve.scores[0].name: [score.dice for score in curve.scores] for curve in result.curves} == {
        one: pytest.approx([0.0, 2 * 125 / (175 + 125)]) for one in DRAWN[name].values()
    }
