"""Models on this machine: found where they are, and missed with the line to type."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vesalius.checkpoints import store
from vesalius.checkpoints.catalog import CATALOG, CatalogRow, find_row
from vesalius.checkpoints.pull import pull
from vesalius.errors import UnknownModelError

ROW = CatalogRow(name="tiny", summary="", licence="CC0", repo="owner/tiny", file="folder/model.safetensors")
KEY = "owner/tiny@main/folder/model.safetensors"


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
    assert pull(ROW).downloaded is False
    assert hub.requests == []


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_a_cache_that_a_cluster_shares_is_looked_into(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shared" / "models--owner--tiny" / "snapshots" / "aaa" / "folder" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    assert store.find_weights(ROW) is None
    monkeypatch.setenv(name, str(tmp_path / "shared"))
    assert store.find_weights(ROW) == file
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert store.find_weights(ROW) is None


def test_what_is_not_here_is_said_with_the_line_to_type() -> None:
    with pytest.raises(UnknownModelError, match="vesalius models pull vista3d") as caught:
        store.require_weights(find_row("vista3d"))
    assert "huggingface.co/nvidia/NV-Segment-CT/resolve/main/vista3d_pretrained_model/model.safetensors" in str(
        caught.value
    )


def test_what_several_pulls_at_once_saw_first_is_all_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store._read_pins

    def read_slowly() -> Any:
        pins = read()
        time.sleep(0.01)  # longer than it takes the others to read
        return pins

    monkeypatch.setattr(store, "_read_pins", read_slowly)
    rows = [find_row(f"owner/{name}") for name in "abc"]
    with ThreadPoolExecutor(len(rows)) as pulls:
        for done in [pulls.submit(store.record_first_seen, row, row.repo, 1) for row in rows]:
            done.result()
    assert [store.first_seen_sha256(row) for row in rows] == ["owner/a", "owner/b", "owner/c"]


def test_every_hub_model_is_kept_in_a_folder_of_its_own() -> None:
    rows = [*CATALOG, find_row("owner/a"), find_row("owner/b")]
    assert len({store.model_folder(row) for row in rows}) == len(rows)
