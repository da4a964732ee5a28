"""A model with a tiny network of seeded weights, tiny scans, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.checkpoints.safetensors import write_model
from vesalius.engine import team
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.formats import write
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

Command = Callable[..., subprocess.CompletedProcess[str]]

TINY = VistaArchitecture(width=8, blocks_down=(1, 1, 1), num_embeddings=8, point_branch=False)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights that finds something in nearly everything."""
    spec = ModelSpec(
        name="tiny",
        architecture=TINY,
        spacing_mm=(4.0, 4.0, 4.0),
        window_size=(16, 16, 16),
        vocabulary=((1, "liver"), (3, "spleen"), (4, "pancreas")),
        everything=(1, 3, 4),
        dice={"liver": 0.5},
        dice_source="nothing: the weights are random",
        licence="none",
    )
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in build(TINY).state_dict().items()
    }
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder, state, spec)
    return folder


def write_scan(path: Path, seed: int = 0, *, shape: Sequence[int] = (24, 22, 20)) -> Path:
    """Write a scan of tissue in air, with voxels of 4 mm, that differs with every seed."""
    rng = np.random.default_rng(seed)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = (i - shape[0] / 2) ** 2 + (j - shape[1] / 2) ** 2 + (k - shape[2] / 2) ** 2 < 9**2
    data = np.where(inside, rng.normal(40, 60, tuple(shape)), -1000).astype(np.int16)
    grid = Grid((shape[0], shape[1], shape[2]), np.diag([-4.0, 4.0, 4.0, 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Volume(data[None], grid, "CT"), path)
    return path


@pytest.fixture
def make_scan() -> Callable[..., Path]:
    """Writes tiny scans: ``make_scan(path, seed, shape=...)``."""
    return write_scan


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """One tiny scan."""
    return write_scan(tmp_path / "scans" / "one.nii.gz")


@pytest.fixture
def asked_to_shard(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each training that was begun or gone on with, whether its team was to be sharded."""
    asked, joined = list[bool](), team.joined

    def noted(device: str, *, is_sharded: bool) -> AbstractContextManager[team.Team]:
        asked.append(is_sharded)
        return joined(device, is_sharded=is_sharded)

    monkeypatch.setattr(team, "joined", noted)
    return asked


@pytest.fixture
def vesalius() -> Command:
    """Runs the command line in its own process: its exit code, stdout and stderr as a user gets them."""

    def command(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vesalius", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return command
