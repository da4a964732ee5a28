"""A transformer with heads, through the same front doors as VISTA3D's network: plan, segmenter, session, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vesalius.checkpoints.load import load_model
from vesalius.checkpoints.safetensors import write_model
from vesalius.errors import CheckpointError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import Segmenter, load
from vesalius.inference.speed import window_flops
from vesalius.interactive.session import Session
from vesalius.models.build import build
from vesalius.prompts.types import PointPrompt
from vesalius.spec import Depth, ModelSpec, PromptedVitArchitecture, VitArchitecture

ARCHITECTURE = PromptedVitArchitecture(
    encoder=VitArchitecture(patch_size=4, width=32, depth=2, heads=2, layer_scale=0.5),
    adapters=(Depth(width=4, neighbours=3),),
    taps=(0, 1),
    width=8,
    num_embeddings=6,
    last_supported=5,
    special_classes=(),
)
SPEC = ModelSpec(
    name="asked",
    architecture=ARCHITECTURE,
    spacing_mm=(3.0, 3.0, 3.0),
    orientation="PLS",
    window_size=(16, 16, 8),
    vocabulary=((1, "liver"), (2, "spleen")),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    state = build(ARCHITECTURE).state_dict()
    drawn = {name: torch.randn(tensor.shape, generator=generator) * 0.3 for name, tensor in state.items()}
    path = tmp_path_factory.mktemp("models") / "asked"
    write_model(path, drawn, SPEC)
    return path


def scan() -> Volume:
    data = np.random.default_rng(0).normal(40, 150, (20, 22, 12)).astype(np.int16)
    data[:3] = -1000
    return Volume(data[None], Grid(data.shape, np.diag([-3.0, -3.0, 3.0, 1.0])), "CT")


def test_it_takes_names_and_clicks_and_undo_takes_them_back(folder: Path) -> None:
    segmenter, volume = load(folder, precision="fp32", device="cpu"), scan()
    found = segmenter(volume, ["spleen"])
    assert found.data.shape == volume.grid.shape
    assert set(np.unique(found.data)) == {0, 2}
    with Session(segmenter, volume) as session:
        session.add(PointPrompt(voxel=(10.0, 11.0, 6.0), positive=True, target="spleen"))
        session.predict()
        assert session.labels.data.any()
        session.undo()
        assert not session.labels.data.any()


def test_the_plan_knows_its_cost(folder: Path) -> None:
    plan = load(folder, precision="fp32", device="cpu").plan(scan())
    assert plan.num_windows == 2 * 2 * 2
    assert 0 < plan.peak_bytes < 10**10
    with torch.device("meta"):
        network, window = (
            build(PromptedVitArchitecture(**{**vars(ARCHITECTURE), "adapters": ()})),
            torch.empty(1, 1, 16, 16, 8),
        )
    with FlopCounterMode(display=False) as counter:
        network.mapped_features(window)
    assert window_flops(network.architecture, (16, 16, 8)) == counter.get_total_flops()


def test_what_asks_for_vista3d_s_own_network_says_what_came(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="prompted_vit"):
        load_model(folder)


def test_bf16_is_its_precision_where_loaded_so(folder: Path) -> None:
    assert load(folder, precision="bf16", device="cpu").precision == "bf16"
    assert isinstance(load(folder, precision="bf16", device="cpu"), Segmenter)
