"""From a name, a folder or a file to a network that is ready to use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from vesalius.checkpoints.catalog import find_row
from vesalius.checkpoints.store import MODEL_FILE, require_weights
from vesalius.checkpoints.weights import LoadReport, WeightsFile, open_weights
from vesalius.errors import CheckpointError
from vesalius.io.written_paths import at_home
from vesalius.models.build import AnyNetwork, optimise_for_inference
from vesalius.models.meddinov3 import MedDino
from vesalius.models.outline import outline
from vesalius.models.promptable import Promptable
from vesalius.models.sam import Sam
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import MedDinoArchitecture, ModelSpec, VistaArchitecture, VitArchitecture

__all__ = [
    "LoadReport",
    "Loaded",
    "LoadedModel",
    "find_weights_of",
    "load_any",
    "load_encoder",
    "load_model",
    "load_segmentation_model",
    "load_slice_model",
]

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[Network]):
    """A network with its weights, what it expects, and how it was loaded."""

    network: Network
    spec: ModelSpec
    report: LoadReport


LoadedModel = Loaded[Vista3D]
"""VISTA3D's network, which takes class prompts or clicks."""


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
    weights.spec.require_head(source)
    if not isinstance(weights.spec.vista, VistaArchitecture):
        raise _another(source, "VISTA3D's network", weights.spec)
    network = _network(weights, dtype, device)
    assert isinstance(network, Vista3D)
    return Loaded(network=network, spec=weights.spec, report=weights.report)


def load_encoder(
    source: str | Path,
    *,
    in_channels: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Loaded[Vit]:
    """Load a backbone, ready to be frozen; ``network.requires_grad_(True).train()`` makes it trainable.

    Args:
        source: A catalog name, a repository that was pulled, a model folder, or a weights file: our safetensors,
            or a DINOv3 ViT as Meta, MedDINOv3, FlexiCT (its stem for slices), timm or transformers store it.
        in_channels: Channels its stem shall have, by default as many as it learnt with; an image repeated over
            them gives the same answers (``fold_channels``). One channel is accepted by every stem.
        dtype: Precision of the maps that are nearly all of the network; the rest stays in float32.
        device: Where the network goes.

    Raises:
        UnknownModelError: If there is no such model here; with the line to type.
        CheckpointError: If the weights are damaged, do not fit, or are no backbone.
        UnsafeCheckpointError: If they would execute code.
    """
    weights = open_weights(find_weights_of(source))
    if not isinstance(weights.spec.architecture, VitArchitecture):
        raise _another(source, "a backbone, a vision transformer", weights.spec)
    network = _network(weights, dtype, device)
    assert isinstance(network, Vit)
    spec = weights.spec
    if in_channels is not None:
        network.set_channels(in_channels)
        spec = replace(spec, architecture=network.architecture)
    return Loaded(network=network, spec=spec, report=weights.report)


def load_slice_model(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Loaded[MedDino]:
    """Load a network that labels slices, ready for inference.

    Args:
        source: A model folder, or a weights file: our safetensors, or a checkpoint of MedDINOv3's nnU-Net trainers,
            of which only the network is read.
        dtype: Precision of the maps that are nearly all of the network; the rest stays in float32.
        device: Where the network goes.

    Raises:
        UnknownModelError: If there is no such model here; with the line to type.
        CheckpointError: If the weights are damaged, do not fit, or label no slices.
        UnsafeCheckpointError: If they would execute code.
    """
    weights = open_weights(find_weights_of(source))
    if not isinstance(weights.spec.architecture, MedDinoArchitecture):
        raise _another(source, "a network that labels slices", weights.spec)
    network = _network(weights, dtype, device)
    assert isinstance(network, MedDino)
    return Loaded(network=network, spec=weights.spec, report=weights.report)


def load_segmentation_model(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Loaded[Promptable | MedDino]:
    """Load a network that segments, by prompts or slice by slice; arguments and errors as ``load_model``'s."""
    weights = open_weights(find_weights_of(source))
    weights.spec.require_head(source)
    network = _network(weights, dtype, device)
    assert not isinstance(network, Vit | Sam)
    return Loaded(network=network, spec=weights.spec, report=weights.report)


def load_any(source: str | Path, *, device: torch.device | str = "cpu") -> Loaded[AnyNetwork]:
    """Load a network of any kind, in float32; raises as the others do."""
    weights = open_weights(find_weights_of(source))
    network = _network(weights, torch.float32, device)
    return Loaded(network=network, spec=weights.spec, report=weights.report)


def _network(weights: WeightsFile, dtype: torch.dtype, device: torch.device | str) -> AnyNetwork:
    with torch.device("meta"):
        network = optimise_for_inference(outline(weights.spec.architecture), dtype=dtype)
    state = weights.read(like=network.state_dict(), device=device)
    network.load_state_dict(state, strict=True, assign=True)
    return network


def _another(source: str | Path, expected: str, spec: ModelSpec) -> CheckpointError:
    return CheckpointError(
        expected=f"{expected}, at {source}",
        got=f"{spec.name}, a {spec.architecture.kind} network",
        do="name another model: `vesalius models list`",
    )


def find_weights_of(source: str | Path) -> Path:
    """Return the weights file that a name, a folder or a path means; what exists on disk goes before a name.

    Raises:
        UnknownModelError: If there is none.
        CheckpointError: If a folder has no model in it.
    """
    path = at_home(source)
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
