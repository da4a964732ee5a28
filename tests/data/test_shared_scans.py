"""A scan in two lists is found whatever file it is in, and reading is spared where headers tell scans apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.small_set import make_case
from vesalius.data import shared_scans
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.shared_scans import UsedCase, require_apart, used_cases
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.formats import write

GRID = Grid((24, 20, 18), np.diag([4.0, 4.0, 5.0, 1.0]))


def write_scan(path: Path, seed: int, *, codes: str = "RAS", spacing_mm: float = 4.0) -> Path:
    grid = Grid(GRID.shape, np.diag([spacing_mm, 4.0, 5.0, 1.0]))
    write(Volume(make_case(seed)[0][None], grid, "CT").reoriented(codes), path)
    return path


def used(
    name: str, *, training: Sequence[Path] = (), validation: Sequence[Path] = (), patient: str | None = None
) -> tuple[UsedCase, ...]:
    learnt, judged = (
        [ListedCase(name=path.name, image=path, label=path, patient=patient) for path in paths]
        for paths in (training, validation)
    )
    listed = DataList(name=name, path=Path(f"{name}.json"), format="monai", cases=(*learnt, *judged))
    return used_cases(listed, learnt=learnt, judged=judged)


@pytest.mark.parametrize(("copy", "codes"), [("copy.nii.gz", "RAS"), ("copy.mha", "PSL")], ids=["bytes", "voxels"])
def test_a_scan_learnt_from_in_one_list_does_not_judge_in_another(tmp_path: Path, copy: str, codes: str) -> None:
    one, again = write_scan(tmp_path / "one.nii.gz", 0), write_scan(tmp_path / copy, 0, codes=codes)
    other = write_scan(tmp_path / "other.nii.gz", 1)
    cases = (*used("a", training=[one, other]), *used("b", validation=[again]))
    with pytest.raises(UsageError) as caught:
        require_apart(cases, Cache(tmp_path / "cache"))
    for said in ("one.nii.gz of a.json (training)", f"{copy} of b.json (validation)"):
        assert said in caught.value.got
    assert "other" not in caught.value.got
    require_apart(cases[1:], Cache(tmp_path / "cache"))
    require_apart(
        used("a", training=[one], validation=[again]), Cache(tmp_path / "cache")
    )  # `dataset check` says it


@pytest.mark.parametrize("copy", ["copy.nii.gz", "copy.mha"], ids=["bytes", "voxels"])
def test_a_scan_may_be_learnt_from_in_two_lists_and_the_log_says_so(
    copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, again = write_scan(tmp_path / "one.nii.gz", 0), write_scan(tmp_path / copy, 0)
    with caplog.at_level(logging.INFO, logger="vesalius"):
        require_apart((*used("a", training=[one]), *used("b", training=[again])), Cache(tmp_path / "cache"))
    assert f"one.nii.gz of a.json (training), {copy} of b.json (training)" in caplog.text


def test_only_scans_of_one_size_and_spacing_are_read_and_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = shared_scans.read
    monkeypatch.setattr(shared_scans, "read", lambda path: read.append(path.name) or real(path))
    one, alike = write_scan(tmp_path / "one.nii", 0), write_scan(tmp_path / "alike.nii", 1)
    finer = write_scan(tmp_path / "finer.nii", 2, spacing_mm=3.0)
    for _ in range(2):
        require_apart((*used("a", training=[one]), *used("b", training=[alike, finer])), Cache(tmp_path / "cache"))
    assert read == ["one.nii", "alike.nii"]


def test_a_patient_of_two_lists_may_be_learnt_from_in_both_but_not_judge(
    tmp_path: Path,
) -> None:
    cache, who = Cache(tmp_path / "cache"), "TCGA-4Z-AA7M"
    one, two = write_scan(tmp_path / "one.nii", 0), write_scan(tmp_path / "two.nii", 1)
    require_apart((*used("a", training=[one], patient=who), *used("b", training=[two], patient=who)), cache)
    with pytest.raises(UsageError, match=r"one patient: one\.nii of a\.json .* two\.nii of b\.json") as caught:
        require_apart((*used("a", training=[one], patient=who), *used("b", validation=[two], patient=who)), cache)
    assert who not in str(caught.value)


@pytest.mark.parametrize("number", ["7", "p7", "P-12", "sub-01", "case_004"])
def test_numbers_of_patients_are_their_list_s_own(
    number: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = write_scan(tmp_path / "one.nii", 0), write_scan(tmp_path / "two.nii", 1)
    cases = (*used("a", training=[one], patient=number), *used("b", validation=[two], patient=number))
    with caplog.at_level(logging.INFO, logger="vesalius"):
        require_apart(cases, Cache(tmp_path / "cache"))
    assert "taken for two people" in caplog.text


def test_cases_that_nothing_is_learnt_from_do_not_count(tmp_path: Path) -> None:
    bare = [ListedCase(name="bare", image=tmp_path / "bare.nii")]
    listed = DataList(name="a", path=Path("a.json"), format="monai", cases=tuple(bare))
    assert used_cases(listed, learnt=bare, judged=[]) == ()
