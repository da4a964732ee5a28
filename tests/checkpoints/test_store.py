"""Models on this machine: found, pulled once, and held to the hash they were first seen with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vesalius.checkpoints import store
from vesalius.checkpoints.catalog import CATALOG, CatalogRow, find_row
from vesalius.errors import CheckpointError, HubError, UnknownModelError

ROW = CatalogRow(name="tiny", summary="", licence="CC0", repo="owner/tiny", file="folder/model.safetensors")
KEY = "owner/tiny@main/folder/model.safetensors"


def test_a_model_is_pulled_once_and_its_hash_recorded(hub: Any, tmp_path: Path) -> None:
    hub.files[KEY] = b"weights"
    sha256 = hashlib.sha256(b"weights").hexdigest()
    came = store.pull(ROW)
    assert (came.downloaded, came.pinned_by, came.sha256) == (True, "nothing", sha256)
    assert came.path == tmp_path / "hf" / "vesalius" / "tiny" / "model.safetensors"
    assert store.first_seen_sha256(ROW) == sha256
    source = json.loads(came.path.with_name("source.json").read_text())
    assert (source["repo"], source["sha256"], source["licence"]) == ("owner/tiny", sha256, "CC0")
    hub.requests.clear()
    again = store.pull(ROW)
    assert (again.downloaded, again.pinned_by) == (False, "first pull")
    assert hub.requests == []


def test_a_publisher_who_swaps_the_file_is_refused(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    path = store.pull(ROW).path
    hub.files[KEY] = b"wEights"
    with pytest.raises(HubError, match="do not use"):
        store.pull(ROW, again=True)
    assert path.read_bytes() == b"weights"
    path.unlink()
    with pytest.raises(HubError, match="do not use"):
        store.pull(ROW)
    assert not path.exists()


def test_a_changed_file_on_disk_is_refused(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    store.pull(ROW).path.write_bytes(b"wEights")
    with pytest.raises(HubError, match="first pull"):
        store.pull(ROW)


def test_a_published_hash_is_held_on_the_first_pull(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    row = dataclasses.replace(ROW, sha256=hashlib.sha256(b"weights").hexdigest())
    assert store.pull(row).pinned_by == "published"
    other = dataclasses.replace(ROW, name="other", sha256="0" * 64)
    with pytest.raises(HubError):
        store.pull(other)


def test_the_spec_beside_the_weights_comes_along_where_there_is_one(hub: Any) -> None:
    hub.files[KEY] = b"weights"
    assert not store.pull(ROW).path.with_name("spec.json").exists()
    hub.files["owner/tiny@main/folder/spec.json"] = b"{}"
    assert store.pull(ROW, again=True).path.with_name("spec.json").read_bytes() == b"{}"


def test_a_copy_in_the_hubs_own_cache_is_used(hub: Any, tmp_path: Path) -> None:
    repository = tmp_path / "hf" / "hub" / "models--owner--tiny"
    for commit in ("aaa", "bbb"):
        file = repository / "snapshots" / commit / "folder" / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.write_text(commit)
    assert store.find_weights(ROW) == repository / "snapshots" / "aaa" / "folder" / "model.safetensors"
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb")
    assert store.require_weights(ROW).read_text() == "bbb"
    assert store.pull(ROW).downloaded is False
    assert hub.requests == []


def test_what_is_not_here_is_said_with_the_line_to_type() -> None:
    with pytest.raises(UnknownModelError, match="vesalius models pull vista3d") as caught:
        store.require_weights(find_row("vista3d"))
    assert "huggingface.co/nvidia/NV-Segment-CT/resolve/main/vista3d_pretrained_model/model.safetensors" in str(
        caught.value
    )


def test_a_scrambled_record_of_hashes_is_not_overlooked(hub: Any, tmp_path: Path) -> None:
    hub.files[KEY] = b"weights"
    store.pull(ROW)
    (tmp_path / "hf" / "vesalius" / "pins.json").write_text("{")
    with pytest.raises(CheckpointError, match="first-seen"):
        store.pull(ROW)


@pytest.mark.parametrize("again", [False, True])
def test_built_in_models_need_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, again: bool) -> None:
    monkeypatch.setattr(store, "BUILTIN", tmp_path)
    row = find_row("vesalius-small")
    with pytest.raises(UnknownModelError, match="inside the package"):
        store.pull(row, again=again)
    (tmp_path / "vesalius-small").mkdir()
    (tmp_path / "vesalius-small" / "model.safetensors").write_bytes(b"weights")
    assert store.pull(row, again=again).downloaded is False


def test_every_hub_model_is_kept_in_a_folder_of_its_own() -> None:
    rows = [*CATALOG, find_row("owner/a"), find_row("owner/b")]
    assert len({store.model_folder(row) for row in rows}) == len(rows)
