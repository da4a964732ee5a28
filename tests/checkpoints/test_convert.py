"""What official code would read wrongly is not written in its layout."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.probe import GOLDEN_FILE
from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.store import MODEL_FILE
from vesalius.checkpoints.weights import open_weights
from vesalius.errors import CheckpointError
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
