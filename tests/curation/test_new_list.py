"""The list beside a store: written over those of the store's own jobs, over nobody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vesalius.curation.new_list import path_beside, refuse_foreign, write_beside
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def given(tmp_path: Path) -> DataList:
    (tmp_path / "a.nii").write_bytes(b"x")
    (tmp_path / "given.json").write_text('{"training": [{"image": "a.nii", "my own key": 1}]}')
    return read_list(tmp_path / "given.json")


def test_what_a_job_wrote_it_writes_again_and_reads_back(store: Path, given: DataList) -> None:
    refuse_foreign(store, given)
    for name in ("one", "two", "one"):
        path = write_beside(store, replace(given, name=name))
        assert path == path_beside(store) == store.parent / "store.json"
        assert (read_list(path).name, read_list(path).cases) == (name, given.cases)
        refuse_foreign(store, given)


def test_the_list_that_is_read_is_refused_by_whatever_path(store: Path, given: DataList) -> None:
    before = given.path.read_bytes()
    with pytest.raises(UsageError, match="the list to read"):
        refuse_foreign(given.path.with_suffix(""), given)
    path_beside(store).symlink_to(given.path)
    with pytest.raises(UsageError, match="the list to read"):
        write_beside(store, given)
    path = store.parent / "own" / "data.json"
    own = store.parent / "own" / "data"
    own.mkdir(parents=True)
    write_beside(own, given)
    with pytest.raises(UsageError, match="the list to read"):
        refuse_foreign(own, read_list(path, allow_outside=True))
    assert given.path.read_bytes() == before


def test_a_list_of_somebody_s_is_refused_also_one_that_was_ours(store: Path, given: DataList) -> None:
    path = path_beside(store)
    path.write_text(given.path.read_text())
    with pytest.raises(UsageError, match="move that list away"):
        refuse_foreign(store, given)
    path.unlink()
    write_beside(store, given)
    path.write_text(path.read_text().replace("a.nii", "b.nii"))
    for refused in (refuse_foreign, write_beside):
        with pytest.raises(UsageError, match="wrote as it is"):
            refused(store, given)
    assert "b.nii" in path.read_text()


def test_nothing_is_written_through_a_link_that_leads_nowhere(store: Path, given: DataList) -> None:
    path_beside(store).symlink_to(store.parent / "elsewhere.json")
    with pytest.raises(UsageError, match=r"store\.json"):
        refuse_foreign(store, given)
