"""A scan on its way through a model: its hash is that of what was given, whatever results lie in it."""

from __future__ import annotations

from pathlib import Path

from vesalius.cli.request import Request
from vesalius.cli.scan import Scan
from vesalius.inference.result_folder import locked, staged, write_record


def put_result(out: Path) -> None:
    with locked(out), staged(out) as folder:
        (folder / "labels.nii.gz").write_bytes(b"labels")
        write_record(folder, {})


def study_in(folder: Path) -> Path:
    (folder / "study").mkdir()
    (folder / "study" / "1.dcm").write_bytes(b"one")
    return folder / "study"


def test_results_of_other_series_in_the_folder_of_a_study_are_no_part_of_it(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    before = Scan(study, study / "X", Request(), "1.2").sha256
    for name in ("X", "Y"):
        put_result(study / name)
    assert Scan(study, study / "X", Request(), "1.2").sha256 == before
    (study / "Y" / "run.json").unlink()
    assert Scan(study, study / "X", Request(), "1.2").sha256 != before, "not a result of ours"


def test_what_a_batch_writes_beside_its_cases_is_no_part_of_a_scan(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    out = study / "results"
    before = Scan(study, out / "X", Request(), "1.2", results=out).sha256
    put_result(out / "Y")
    (out / "summary.csv").write_text("case")
    assert Scan(study, out / "X", Request(), "1.2", results=out).sha256 == before


def test_results_above_the_scans_take_nothing_out_of_them(tmp_path: Path) -> None:
    studies = [tmp_path / name for name in ("one", "two")]
    for study in studies:
        study.mkdir()
        (study / "1.dcm").write_text(study.name)
    beside = [Scan(study, tmp_path / "out" / study.name, Request()).sha256 for study in studies]
    above = [Scan(study, tmp_path / f"{study.name}_ct", Request(), results=tmp_path).sha256 for study in studies]
    assert above == beside
    assert len(set(above)) == 2


def test_results_among_the_slices_of_a_study_are_no_part_of_it(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    before = Scan(study, study / "X", Request(), results=study).sha256
    put_result(study / "X")
    (study / "summary.csv").write_text("case")
    assert Scan(study, study / "X", Request(), results=study).sha256 == before


def test_a_result_that_is_corrected_counts_all_the_same(tmp_path: Path) -> None:
    image, labels = study_in(tmp_path), tmp_path / "before"
    put_result(labels)
    scan = Scan(image, tmp_path / "out", Request(), command="refine", more={"--labels": labels})
    before = scan.more_sha256
    (labels / "labels.nii.gz").write_bytes(b"others")
    again = Scan(image, tmp_path / "out", Request(), command="refine", more={"--labels": labels})
    assert again.more_sha256 != before
