"""What official code would read wrongly is not written in its layout."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from vesalius.checkpoints import convert
from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.probe import GOLDEN_FILE
from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.store import MODEL_FILE, SPEC_FILE
from vesalius.checkpoints.weights import open_weights
from vesalius.errors import CheckpointError, DiskError
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

TINY = VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=4)


def model(folder: Path, architecture: VistaArchitecture) -> Path:
    spec = ModelSpec(name="tiny", architecture=architecture, window_size=(8, 8, 8))
    write_model(folder, build(architecture).state_dict(), spec)
    return folder


def test_a_point_head_that_official_code_would_read_wrongly_is_refused(tmp_path: Path) -> None:
    one = model(tmp_path / "one", dataclasses.replace(TINY, point_heads=1))
    with pytest.raises(CheckpointError, match="4 attention heads"):
        convert_model(one, tmp_path / "official", layout="monai")
    assert not (tmp_path / "official").exists()
    convert_model(model(tmp_path / "four", TINY), tmp_path / "official", layout="monai")


def test_nothing_beside_a_replaced_model_rules_the_weights_that_replace_it(tmp_path: Path) -> None:
    old = model(tmp_path / "old", dataclasses.replace(TINY, special_classes=(3,)))
    (old / GOLDEN_FILE).write_bytes(b"answers of the old one")
    convert_model(model(tmp_path / "new", TINY), old, layout="monai", overwrite=True)
    assert [path.name for path in old.iterdir()] == [MODEL_FILE]
    assert open_weights(old / MODEL_FILE).spec.vista.special_classes == VistaArchitecture().special_classes


def test_what_lies_beside_no_model_stays(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / SPEC_FILE).write_text("of something else")
    convert_model(model(tmp_path / "new", TINY), tmp_path / "other", layout="monai")
    assert (tmp_path / "other" / SPEC_FILE).read_text() == "of something else"


def test_a_model_that_could_not_be_replaced_keeps_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskError(expected="room", got="none", do="make some")

    old, new = model(tmp_path / "old", TINY), model(tmp_path / "new", TINY)
    (old / GOLDEN_FILE).write_bytes(b"answers of the old one")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    monkeypatch.setattr(convert, "write_tensors", full)
    with pytest.raises(DiskError, match="room"):
        convert_model(new, old, layout="monai", overwrite=True)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
