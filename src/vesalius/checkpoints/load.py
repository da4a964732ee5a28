"""From a name, a folder or a file to a network that is ready to use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vesalius.checkpoints.catalog import find_row
from vesalius.checkpoints.store import MODEL_FILE, require_weights
from vesalius.checkpoints.weights import LoadReport, open_weights
from vesalius.errors import CheckpointError
from vesalius.models.build import build, optimise_for_inference
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import ModelSpec, VitArchitecture

__all__ = ["LoadReport", "LoadedEncoder", "LoadedModel", "find_weights_of", "load_encoder", "load_model"]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network with its weights, what it expects, and how it was loaded."""

    network: Vista3D
    spec: ModelSpec
    report: LoadReport


@dataclass(frozen=True, kw_only=True)
class LoadedEncoder:
    """A backbone with its weights, what it expects, and how it was loaded."""

    network: Vit
    spec: ModelSpec
    report: LoadReport


def load_model(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LoadedModel:
    """Load a model, ready for inference.

    Weights go one by one straight into the precision and layout the network computes in, so that a bf16 load never
    holds the fp32 copy. No gradients are asked for; ``network.requires_grad_(True).train()`` makes it trainable.

    Args:
        source: A catalog name, a hub repository that was pulled, a model folder, or a weights file: our
            safetensors, or VISTA3D's published ones as safetensors or ``.pt``.
        dtype: Precision of the convolutions, which are nearly all of the network; the rest stays in float32.
        device: Where the network goes.

    Raises:
        UnknownModelError: If there is no such model here; with the line to type.
        CheckpointError: If the weights are damaged or do not fit.
        NoHeadError: If they are a backbone, which cannot segment before fine-tuning.
        UnsafeCheckpointError: If they would execute code.
    """
    weights = open_weights(find_weights_of(source))
    architecture = weights.spec.vista
    with torch.device("meta"):
        network = optimise_for_inference(build(architecture), dtype=dtype)
    state = weights.read(like=network.state_dict(), device=device)
    network.load_state_dict(state, strict=True, assign=True)
    return LoadedModel(network=network, spec=weights.spec, report=weights.report)


def load_encoder(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LoadedEncoder:
    """Load a backbone, ready to be frozen; ``network.requires_grad_(True).train()`` makes it trainable.

    Args:
        source: A catalog name, a repository that was pulled, a model folder, or a weights file: our safetensors,
            or a DINOv3 ViT as Meta, MedDINOv3, FlexiCT (its stem for slices), timm or transformers store it.
        dtype: Precision of the maps that are nearly all of the network; the rest stays in float32.
        device: Where the network goes.

    Raises:
        UnknownModelError: If there is no such model here; with the line to type.
        CheckpointError: If the weights are damaged, do not fit, or are no backbone.
        UnsafeCheckpointError: If they would execute code.
    """
    weights = open_weights(find_weights_of(source))
    architecture = weights.spec.architecture
    if not isinstance(architecture, VitArchitecture):
        raise CheckpointError(
            expected=f"a backbone, a vision transformer, at {source}",
            got=f"{weights.spec.name}, a {architecture.kind} network",
            do="load it as a model, or name a backbone: `vesalius models list`",
        )
    with torch.device("meta"):
        network = optimise_for_inference(build(architecture), dtype=dtype)
    network.load_state_dict(weights.read(like=network.state_dict(), device=device), strict=True, assign=True)
    return LoadedEncoder(network=network, spec=weights.spec, report=weights.report)


def find_weights_of(source: str | Path) -> Path:
    """Return the weights file that a name, a folder or a path means; what exists on disk goes before a name.

    Raises:
        UnknownModelError: If there is none.
        CheckpointError: If a folder has no model in it.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / MODEL_FILE).is_file():
            return path / MODEL_FILE
        foreign = sorted(found.name for found in path.iterdir() if found.suffix in (".pt", ".pth", ".safetensors"))
        raise CheckpointError(
            expected=f"{MODEL_FILE} in the folder {path}",
            got=f"a folder with {', '.join(foreign[:5])}" if foreign else "a folder without weights",
            do="name the weights file itself" if foreign else "name a model folder or a weights file",
        )
    if path.is_file():
        return path
    if isinstance(source, Path) or path.suffix in (".safetensors", ".pt", ".pth", ".ckpt"):
        raise CheckpointError(
            expected=f"a model folder or weights file at {path}", got="nothing", do="check the path"
        )
    return require_weights(find_row(source))
