"""Pseudo labels of a list: reliable classes in the maps, the others unknown, every decision in a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation import test_reliability as answers
from curation.at_once import Crowd, together
from curation.scans import write_json, write_scan
from inference.small_model import small_network, small_spec
from vesalius.curation import pseudo_labels
from vesalius.curation.pseudo_labels import curate_pseudo_labels, reliable
from vesalius.curation.reliability import Decision, ReliabilitySettings
from vesalius.data.datalists.read import read_list
from vesalius.errors import UnknownClassError, UsageError
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmentation, Segmenter, SegmentOptions
from vesalius.io.formats import read_labels
from vesalius.labels.mapping import UNKNOWN
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec, VistaArchitecture


class Teacher:
    """Finds the phantom's organs by their grey, and never the same liver under noise."""

    spec = ModelSpec(name="by grey", architecture=VistaArchitecture())
    vocabulary = answers.VOCABULARY
    precision = "fp32"

    def segment(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
    ) -> Segmentation:
        assert set(classes) == {1, 3, 5, 14}

        def answer(volume: Volume) -> np.ndarray:
            labels = answers.by_intensity(volume)
            if len(np.unique(volume.data)) > 10:
                labels[labels == 1] = 0
            return labels

        return answers.segmenter(answer)(volume)


def test_a_list_gets_what_is_reliable_and_a_table_of_why(tmp_path: Path) -> None:
    air = Volume(np.full((1, *answers.GRID.shape), -1000, np.int16), answers.GRID, "CT")
    files = [write_scan(tmp_path, "a", answers.scan()), write_scan(tmp_path, "nothing", air)]
    data = write_json(tmp_path, files, test=[write_scan(tmp_path, "c", answers.scan())])
    settings = ReliabilitySettings(noise_hu=2.0)
    listed, store = read_list(data), tmp_path / "pl"
    found = curate_pseudo_labels(listed, store, Teacher(), model_sha256="x", settings=settings)
    assert [one.state for one in found.outcomes] == ["made", "made"]
    again = read_list(found.listed)
    assert found.listed == tmp_path / "pl.json"
    assert [case.pseudo_label is not None for case in again.cases] == [True, False, False]
    labels = read_labels(again.cases[0].pseudo_label)
    assert np.unique(labels.data).tolist() == [0, 5, 14, UNKNOWN]
    assert (labels.data[answers.LIVER] == UNKNOWN).all()
    assert labels.names[5] == "right kidney"
    with found.table.open(newline="") as file:
        rows = {(row["case"], row["class"]): row for row in csv.DictReader(file)}
    assert rows["a", "right kidney"]["kept"] == "True"
    assert rows["a", "liver"]["kept"] == "False"
    assert "noise" in rows["a", "liver"]["why"]
    assert rows["nothing", "liver"]["why"] == "nothing was found"
    with pytest.raises(UnknownClassError):
        curate_pseudo_labels(listed, store, Teacher(), model_sha256="x", classes=["lever"], resume=True)
    resumed = curate_pseudo_labels(
        listed,
        store,
        Teacher(),
        model_sha256="x",
        settings=settings,
        resume=True,
    )
    assert [one.state for one in resumed.outcomes] == ["there", "there"]


def test_what_is_made_of_several_classes_is_asked_for_class_by_class(tmp_path: Path) -> None:
    class Whole(Teacher):
        def segment(self, volume: Volume, classes: Sequence[str | int] = (), **options: object) -> Segmentation:
            assert list(classes) == [1, 5, 14]
            return answers.segmenter(answers.by_intensity)(volume)

    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", answers.scan())]))
    classes = ["kidney", "liver"]
    found = curate_pseudo_labels(listed, tmp_path / "pl", Whole(), model_sha256="x", classes=classes)
    (case,) = read_list(found.listed).cases
    assert case.pseudo_label is not None
    assert {5, 14} <= set(np.unique(read_labels(case.pseudo_label).data).tolist())


def test_a_scan_that_the_model_accepts_does_not_fail_for_what_zooming_made_of_it(tmp_path: Path) -> None:
    spec = small_spec(spacing_range_mm=(0.1, 5.0))
    model = Segmenter(small_network(spec), spec)

    class Narrow(Teacher):
        def segment(
            self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
        ) -> Segmentation:
            assert options is not None
            model.check(volume, options)
            return answers.segmenter(answers.by_intensity)(volume)

    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", answers.scan())]))
    found = curate_pseudo_labels(listed, tmp_path / "pl", Narrow(), model_sha256="x")
    assert [one.state for one in found.outcomes] == ["made"]
    coarse = Volume(answers.scan().data, answers.Grid(answers.GRID.shape, np.diag([6.0, 6.0, 6.0, 1.0])), "CT")
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "b", coarse)], name="coarse"))
    found = curate_pseudo_labels(listed, tmp_path / "other", Narrow(), model_sha256="x")
    assert [one.state for one in found.outcomes] == ["failed"]


def test_answers_of_a_model_or_a_list_that_says_other_things_are_made_again(tmp_path: Path) -> None:
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", answers.scan())]))
    settings, states = ReliabilitySettings(changes=()), []
    for window_hu, modality in ((-900.0, 900.0), "CT"), ((-200.0, 300.0), "CT"), ((-200.0, 300.0), "unknown"):
        teacher = Teacher()
        teacher.spec = replace(Teacher.spec, window_hu=window_hu)
        found = curate_pseudo_labels(
            replace(listed, modality=modality),
            tmp_path / "pl",
            teacher,
            model_sha256="x",
            settings=settings,
            resume=True,
        )
        states.append(found.outcomes[0].state)
    assert states == ["made"] * 3


def test_noise_in_an_image_without_a_unit_is_a_part_of_what_the_model_sees(tmp_path: Path) -> None:
    class Fitted(Teacher):
        spec = replace(Teacher.spec, modality="MR", normalisation="percentiles")

        def segment(self, volume: Volume, *others: object, **options: object) -> Segmentation:
            grey = Volume((volume.data - 1) * 1000, volume.grid)
            return answers.segmenter(answers.by_intensity)(grey)

    fractions = (answers.scan().data / 1000 + 1).astype(np.float32)  # 0 to 1.2
    data = write_json(tmp_path, [write_scan(tmp_path, "a", Volume(fractions, answers.GRID, "MR"))])
    data.write_text(data.read_text().replace("CT", "MR"))
    found = curate_pseudo_labels(read_list(data), tmp_path / "pl", Fitted(), model_sha256="x")
    liver = found.decisions["a"][0]
    assert liver["kept"]
    assert 0.99 < liver["agreement"]["noise"] <= 1.0


@pytest.mark.parametrize("resume", [False, True])
def test_somebody_s_list_is_not_replaced(tmp_path: Path, resume: bool) -> None:
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", answers.scan())]))
    other = write_json(tmp_path, ["a.nii.gz"], name="pl")
    before = other.read_bytes()
    with pytest.raises(UsageError, match=r"no job in .*pl wrote"):
        curate_pseudo_labels(listed, tmp_path / "pl", Teacher(), model_sha256="x", resume=resume)
    assert other.read_bytes() == before
    assert not (tmp_path / "pl").exists()


def test_processes_on_one_store_write_its_list_and_table_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", answers.scan())]))

    def curate() -> pseudo_labels.CuratedLabels:
        return curate_pseudo_labels(listed, tmp_path / "pl", Teacher(), model_sha256="x", resume=True)

    curate()
    crowd = Crowd()
    for name in ("write_beside", "decisions_csv"):
        monkeypatch.setattr(pseudo_labels, name, crowd.wrapped(getattr(pseudo_labels, name)))
    assert [one.outcomes[0].state for one in together(curate)] == ["there"] * 3
    assert (crowd.visits, crowd.most) == (6, 1)


def test_no_older_model_s_answer_stands_where_the_new_one_keeps_nothing_or_fails(tmp_path: Path) -> None:
    air = Volume(np.full((1, *answers.GRID.shape), -1000, np.int16), answers.GRID, "CT")
    names = ["nothing", "broken", "held-out"]
    for name in names:
        write_scan(tmp_path, name, air)
    write_scan(tmp_path, "old", answers.scan())
    entries = [{"image": f"{name}.nii.gz", "pseudo_label": "old.nii.gz"} for name in names]
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": entries[:2], "validation": entries[2:], "modality": "CT"}))
    listed = read_list(path)
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    found = curate_pseudo_labels(listed, tmp_path / "pl", Teacher(), model_sha256="x")
    assert [one.state for one in found.outcomes] == ["made", "failed"]
    old = {case.name: case.pseudo_label for case in read_list(found.listed).cases}
    assert old == {"nothing": None, "broken": None, "held-out": tmp_path / "old.nii.gz"}


def test_an_unreliable_tumour_is_unknown_inside_a_reliable_organ_and_a_reliable_one_stays() -> None:
    vocabulary = Vocabulary.of([(1, "liver"), (26, "hepatic tumor")])
    base, layer = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    base[:, :, :3], layer[1, 1, 1] = 1, 26
    answer = LabelMap(
        base, answers.Grid((4, 4, 4), np.eye(4)), {1: "liver", 26: "hepatic tumor"}, {"tumours": layer}
    )

    def decisions(*, kept: bool) -> list[Decision]:
        common = {"volume_ml": 1.0, "pieces": 1, "largest_piece": 1.0}
        why = () if kept else ("no",)
        return [
            Decision(class_id=1, name="liver", **common),
            Decision(class_id=26, name="hepatic tumor", **common, reasons=why),
        ]

    assert reliable(answer, decisions(kept=False), vocabulary).data[1, 1, 1] == UNKNOWN
    assert reliable(answer, decisions(kept=True), vocabulary).data[1, 1, 1] == 26
    assert reliable(answer, decisions(kept=True), vocabulary).data[0, 0, 0] == 1
