"""Models are pulled once, and held to the hash they were first seen with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vesalius.checkpoints import store
from vesalius.checkpoints.catalog import CatalogRow, find_row
from vesalius.checkpoints.pull import pull
from vesalius.errors import CheckpointError, HubError, UnknownModelError

ROW = CatalogRow(name="tiny", summary="", licence="CC0", repo="owner/tiny", file="folder/model.safetensors")
KEY = "owner/tiny@main/folder/model.safetensors"


def test_a_model_is_pulled_once_and_its_hash_recorded(hub: Any, tmp_path: Path) -> None:
    hub.files[KEY] = b"weights"
    sha256 = hashlib.sha256(b"weights").hexdigest()
    came = pull(ROW)
    assert (came.downloaded, came.pinned_by, came.sha256) == (True, "nothing", sha256)
    assert came.path == tmp_path / "hf" / "vesalius" / "tiny" / "model.safetensors"
    assert store.first_seen_sha256(ROW) == sha256
    source = json.loads(came.path.with_name("source.json").read_text())
    assert (source["repo"], source["sha256"], source["licence"]) == ("owner/tiny", sha256, "CC0")
    hub.requests.clear()
    again = pull(ROW)
    assert (again.downloaded, again.pinned_by) == (False, "first pull")
    assert hub.requests == []


def test_a_publisher_who_swaps_the_file_is_refused(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    path = pull(ROW).path
    hub.files[KEY] = b"wEights"
    with pytest.raises(HubError, match="do not use"):
        pull(ROW, again=True)
    assert path.read_bytes() == b"weights"
    path.unlink()
    with pytest.raises(HubError, match="do not use"):
        pull(ROW)
    assert not path.exists()


def test_all_files_are_of_the_commit_that_the_branch_was_when_the_weights_first_came(hub: Any) -> None:
    hub.redirect_to = "storage"  # where the hub says the commit
    for revision in ("main", "c0ffee"):
        hub.files[f"owner/tiny@{revision}/folder/model.safetensors"] = b"weights"
        hub.files[f"owner/tiny@{revision}/folder/spec.json"] = b"{}"
    hub.files["owner/tiny@main/folder/spec.json"] = b"[]"  # the branch moved between the two requests
    path = pull(ROW).path
    asked = [request for request, _ in hub.requests if "/resolve/" in request]
    assert asked == [
        "/owner/tiny/resolve/main/folder/model.safetensors",
        "/owner/tiny/resolve/c0ffee/folder/spec.json",
    ]
    assert path.with_name("spec.json").read_bytes() == b"{}"
    hub.files[KEY] = b"wEights"
    assert pull(ROW, again=True).path.read_bytes() == b"weights"
    for name in ("spec.json", "source.json"):
        path.with_name(name).unlink()
    assert not pull(ROW).downloaded
    assert path.with_name("spec.json").read_bytes() == b"{}", "also of a pull that was interrupted"
    assert json.loads(path.with_name("source.json").read_text())["commit"] == "c0ffee"


def test_a_commit_is_recorded_where_an_earlier_pull_did_not_say_it(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    pull(ROW)
    assert store.first_seen_commit(ROW) == ""
    hub.redirect_to = "storage"
    pull(ROW, again=True)
    assert store.first_seen_commit(ROW) == "c0ffee"


def test_a_changed_file_on_disk_is_refused(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    pull(ROW).path.write_bytes(b"wEights")
    with pytest.raises(HubError, match="first pull"):
        pull(ROW)


def test_a_published_hash_is_held_on_the_first_pull(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    row = dataclasses.replace(ROW, sha256=hashlib.sha256(b"weights").hexdigest())
    assert pull(row).pinned_by == "published"
    other = dataclasses.replace(ROW, name="other", sha256="0" * 64)
    with pytest.raises(HubError):
        pull(other)


def test_the_spec_beside_the_weights_comes_along_where_there_is_one(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    assert not pull(ROW).path.with_name("spec.json").exists()
    hub.files["owner/tiny@main/folder/spec.json"] = b"{}"
    assert pull(ROW, again=True).path.with_name("spec.json").read_bytes() == b"{}"


def test_a_spec_that_an_interrupted_pull_left_out_comes_with_the_next_and_is_held_to_its_hash(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    hub.files["owner/tiny@main/folder/spec.json"] = b"{}"
    path = pull(ROW).path
    for name in ("spec.json", "source.json"):
        path.with_name(name).unlink()
    assert not pull(ROW).downloaded
    assert path.with_name("spec.json").read_bytes() == b"{}"
    hub.requests.clear()
    pull(ROW)
    assert hub.requests == []
    hub.files["owner/tiny@main/folder/spec.json"] = b"[]"
    with pytest.raises(HubError, match="do not use"):
        pull(ROW, again=True)
    assert path.with_name("spec.json").read_bytes() == b"{}"


def test_weights_that_came_by_hand_need_no_network_and_their_spec_is_a_note(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match=r"model\.safetensors.*spec\.json from beside it"):
        pull(ROW)
    path = store.own_file(ROW)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    came = pull(ROW)
    assert (came.path, came.downloaded) == (path, False)
    assert "HF_HUB_OFFLINE" in came.note
    assert "folder/spec.json" in came.note
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.files["owner/tiny@main/folder/spec.json"] = b"{}"
    assert pull(ROW).note == "", "the next pull with a network looks again"
    assert path.with_name("spec.json").read_bytes() == b"{}"
    for name in ("spec.json", "source.json"):
        path.with_name(name).unlink()
    hub.files["owner/tiny@main/folder/spec.json"] = b"[]"
    with pytest.raises(HubError, match="do not use"):
        pull(ROW)


def test_a_scrambled_record_of_hashes_is_not_overlooked(hub: Any, tmp_path: Path) -> None:
    hub.files[KEY] = b"weights"
    pull(ROW)
    (tmp_path / "hf" / "vesalius" / "pins.json").write_text("{")
    with pytest.raises(CheckpointError, match="first-seen"):
        pull(ROW)


@pytest.mark.parametrize("again", [False, True])
def test_built_in_models_need_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, again: bool) -> None:
    monkeypatch.setattr(store, "BUILTIN", tmp_path)
    row = find_row("vesalius-small")
    with pytest.raises(UnknownModelError, match="inside the package"):
        pull(row, again=again)
    (tmp_path / "vesalius-small").mkdir()
    (tmp_path / "vesalius-small" / "model.safetensors").write_bytes(b"weights")
    assert pull(row, again=again).downloaded is False
