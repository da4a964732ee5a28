"""Cases and images for probes: partly labelled structures are left out by name, parts are kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.small_list import write_list
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError, UsageError
from vesalius.evaluation import probe_data
from vesalius.evaluation.probe_data import as_hounsfield, read_probe_cases, read_probe_images
from vesalius.spec import ModelSpec, VitArchitecture

SPEC = ModelSpec(
    name="slices",
    architecture=VitArchitecture(patch_size=8, width=16, depth=1, heads=2),
    spacing_mm=(2.0, 2.0, 0.0),
    orientation="PLS",
    window_size=(32, 32, 1),
)


def test_cases_keep_their_slices_and_the_list_s_own_names(tmp_path: Path) -> None:
    cases = read_probe_cases(read_list(write_list(tmp_path)), SPEC, Cache(tmp_path / "cache"))
    assert cases.classes == {1: "liver"}
    assert [case.name for case in cases.learnt] == ["image-0", "image-1"]
    assert [case.name for case in cases.judged] == ["image-2"]
    rows, columns, slices = cases.learnt[0].labels.shape
    assert slices <= 14, "4 mm slices stay 4 mm apart"
    assert max(rows, columns) > 20, "pixels of 4 mm become pixels of 2 mm"


def test_what_was_not_looked_for_in_every_case_is_left_out_by_name(tmp_path: Path) -> None:
    path = write_list(tmp_path)
    content = json.loads(path.read_text())
    content["label_mapping"]["2"] = "spleen"
    content["training"][0]["classes"] = ["liver"]
    path.write_text(json.dumps(content))
    cases = read_probe_cases(read_list(path), SPEC, Cache(tmp_path / "cache"))
    assert (cases.classes, cases.left_out) == ({1: "liver"}, ("spleen",))
    alone = read_probe_cases(read_list(path), SPEC, Cache(tmp_path / "cache"), most=1)
    assert len(alone.learnt) == 1


def test_nothing_to_judge_on_is_refused(tmp_path: Path) -> None:
    listed = read_list(write_list(tmp_path, validation=0))
    for split in ("validation", "training"):
        with pytest.raises(UsageError):
            read_probe_cases(listed, SPEC, Cache(tmp_path / "cache"), split=split)  # type: ignore[arg-type]


def test_who_is_learnt_from_is_not_judged_on(tmp_path: Path) -> None:
    listed = read_list(write_list(tmp_path))
    torn = replace(listed, cases=tuple(replace(case, patient="one") for case in listed.cases))
    with pytest.raises(UsageError, match=r"image-0 \(training\), image-1 \(training\), image-2 \(validation\)"):
        read_probe_cases(torn, SPEC, Cache(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["one array", "three arrays"])
def test_images_of_both_kinds_are_read_in_their_parts(tmp_path: Path, kind: str) -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    labels, split = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 2, 2])
    if kind == "one array":
        np.savez(tmp_path / "a.npz", images=images, labels=labels, split=split, classes=np.array(["no", "yes"]))
    else:
        parts = {"train": split == 0, "val": split == 1, "test": split == 2}
        arrays = {f"{name}_images": images[part] for name, part in parts.items()}
        arrays |= {f"{name}_labels": labels[part, None] for name, part in parts.items()}
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    found = read_probe_images(tmp_path / "a.npz", split="test")
    assert found.classes == (("no", "yes") if kind == "one array" else ("0", "1"))
    assert found.learnt[0][:, 0, 0].tolist() == [0, 1, 2]
    assert found.judged[0][:, 0, 0].tolist() == [4, 5]
    assert found.judged[1].tolist() == [0, 1]
    low, high = SPEC.window_hu
    assert as_hounsfield(found.learnt[0], SPEC)[1, 0, 0] == pytest.approx(low + (high - low) / 255, abs=1e-3)


def test_only_what_is_asked_for_is_unpacked_and_no_more_than_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"{part}_images": np.zeros((2, 4, 5), np.uint8) for part in ("train", "val", "test")}
    labels = {f"{part}_labels": np.zeros((2, 1), np.uint8) for part in ("train", "val", "test")}
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **images, **labels, rest=np.zeros(100_000))  # type: ignore[arg-type]
    monkeypatch.setattr(probe_data, "_MOST_BYTES", 2000)
    assert len(read_probe_images(path).judged[0]) == 2
    monkeypatch.setattr(probe_data, "_MOST_BYTES", 500)
    with pytest.raises(FileFormatError, match="when unpacked"):
        read_probe_images(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other.npz", "text.npz", "absent.npz"):
        with pytest.raises(FileFormatError, match="MedMNIST"):
            read_probe_images(tmp_path / name)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"split": np.array([0, 1, 1])}, "'split': 3"),
        ({"labels": np.array([0, 1, 0, 2])}, "labels from 0 to 2, and 2 classes"),
        ({"labels": np.array([0, -1, 0, 1])}, "labels from -1"),
        ({"labels": np.array([0, 1, 0, 0.5])}, "float64"),
        ({"labels": np.array([0, 1, 0])}, "'labels': 3"),
    ],
    ids=["split", "beyond the classes", "negative", "no integers", "too few"],
)
def test_arrays_that_do_not_fit_one_another_are_refused(
    wrong: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    right = {
        "images": np.zeros((4, 5, 5), np.uint8),
        "labels": np.array([0, 1, 0, 1]),
        "split": np.array([0, 0, 1, 1]),
        "classes": np.array(["no", "yes"]),
    }
    np.savez(tmp_path / "a.npz", **right)  # type: ignore[arg-type]
    assert read_probe_images(tmp_path / "a.npz").classes == ("no", "yes")
    np.savez(tmp_path / "a.npz", **{**right, **wrong})  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match=words):
        read_probe_images(tmp_path / "a.npz")
