"""One small image and a few prompts, and what a network answers to them: how two implementations are compared.

The image is a formula, not a random draw, so that every machine and every version of torch sees the same one. Its
answers by the network of a day can be kept beside the weights as ``golden.safetensors``; another machine, processor
or release must give them again.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vesalius.checkpoints.formats.vista3d_official import to_official
from vesalius.checkpoints.header import read_header
from vesalius.checkpoints.load import load_any
from vesalius.checkpoints.safetensors import read_tensors, write_tensors
from vesalius.checkpoints.slice_probe import sam_answers, slice_answers, taps_of, transformers_answers
from vesalius.errors import CheckpointError, MissingExtraError
from vesalius.models.build import AnyNetwork
from vesalius.models.meddinov3 import MedDino
from vesalius.models.sam import Sam
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import ModelSpec, VistaArchitecture

GOLDEN_FILE = "golden.safetensors"
TOLERANCE = 1e-4
"""Largest relative difference, max|a - b| / max|b|, of two fp32 implementations; measured ones are near 1e-5."""

_CLICKS_IJK = ((5.0, 9.0, 12.0), (20.0, 3.0, 17.0), (0.0, 0.0, 0.0))
_CLICK_LABELS = ((1, 0, -1), (3, 2, 1), (1, -1, -1))
_SUPPORTED = (True, True, False)


def probe_image(architecture: VistaArchitecture) -> Float[Tensor, "1 c i j k"]:
    """Return an image in 0..1 with structure at several scales, two units of ``size_multiple`` wide at least."""
    multiple = architecture.size_multiple
    side = multiple * max(2, 32 // multiple)
    i, j, k = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for _ in range(3)), indexing="ij")
    waves = torch.sin(0.31 * i + 0.013 * j * k) + torch.sin(0.7 * j - 0.21 * k) + torch.cos(0.05 * i * k)
    image = (waves / 6 + 0.5).float()
    return torch.stack([image.roll(channel, 0) for channel in range(architecture.in_channels)])[None]


def probe_class_ids(spec: ModelSpec) -> Int[Tensor, " o"]:
    """Return a few rows of the embedding table: the first, the last, and some between."""
    last = spec.vista.num_embeddings - 1
    return torch.tensor(sorted({label for label in (1, 3, 23, 117, 132, last) if label <= last}))


def _clicks() -> tuple[Float[Tensor, "o n 3"], Int[Tensor, "o n"], Bool[Tensor, " o"]]:
    points = torch.tensor(_CLICKS_IJK).expand(len(_CLICK_LABELS), -1, -1).clone()
    return points, torch.tensor(_CLICK_LABELS), torch.tensor(_SUPPORTED)


@torch.inference_mode()
def our_answers(network: Vista3D, spec: ModelSpec, *, brighter_by: float = 0.0) -> dict[str, Tensor]:
    """Return what our network answers: mask logits of classes and of clicked objects, in float32.

    Args:
        network: In float32.
        spec: Its spec.
        brighter_by: Part by which the image is made brighter, to learn how much rounding matters to these weights.
    """
    image = probe_image(_sizes(spec)) * (1 + brighter_by)
    answers = {}
    if spec.vista.class_branch:
        answers["class_logits"] = network.class_logits(image, probe_class_ids(spec))[0].float().contiguous()
    if spec.vista.point_branch:
        answers["point_logits"] = network.point_logits(image, *_clicks())[0].float().contiguous()
    return answers


@torch.inference_mode()
def monai_answers(official: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return what MONAI's network answers with the same weights.

    Args:
        official: The weights in MONAI's layout, without a prefix; they are used, not copied.
        spec: The model they belong to; both branches must be present, as MONAI's network has both.

    Raises:
        MissingExtraError: If MONAI is not installed.
    """
    try:
        from monai.networks.nets.segresnet_ds import SegResNetDS2  # noqa: PLC0415 - optional
        from monai.networks.nets.vista3d import (  # noqa: PLC0415 - optional
            VISTA3D,
            ClassMappingClassify,
            PointMappingSAM,
        )
    except ImportError:
        raise MissingExtraError(
            expected="MONAI, to compare with", got="an environment without it", do="pip install monai"
        ) from None
    sizes = _sizes(spec)
    with torch.device("meta"):
        encoder = SegResNetDS2(
            in_channels=sizes.in_channels,
            blocks_down=sizes.blocks_down,
            norm="instance",
            out_channels=sizes.width,
            init_filters=sizes.width,
            dsdepth=1,
        )
        classes = ClassMappingClassify(n_classes=sizes.num_embeddings, feature_size=sizes.width, use_mlp=True)
        points = PointMappingSAM(
            feature_size=sizes.width, n_classes=sizes.num_embeddings, last_supported=sizes.last_supported
        )
        for part in points.modules():  # always four there; their number is in no weight's shape
            if "num_heads" in vars(part):
                vars(part)["num_heads"] = sizes.point_heads
        network = VISTA3D(image_encoder=encoder, class_head=classes, point_head=points)
    network.load_state_dict(official, strict=True, assign=True)
    network.eval()
    image = probe_image(sizes)
    points_ijk, labels, supported = _clicks()
    prompt_class = torch.where(supported, 1, sizes.last_supported + 1)[:, None]
    class_logits = network(image, class_vector=probe_class_ids(spec)[:, None])
    point_logits = network(image, point_coords=points_ijk, point_labels=labels, prompt_class=prompt_class)
    return {"class_logits": class_logits[:, 0].float(), "point_logits": point_logits[:, 0].float()}


def answers_of(network: AnyNetwork, spec: ModelSpec, *, brighter_by: float = 0.0) -> dict[str, Tensor]:
    """Return what a network answers to its probe; of heads for prompts on a backbone nothing, for want of one."""
    match network:
        case Vista3D():
            return our_answers(network, spec, brighter_by=brighter_by)
        case Vit() | MedDino():
            return slice_answers(network, spec, brighter_by=brighter_by)
        case Sam():
            return sam_answers(network, brighter_by=brighter_by)
        case _:
            return {}


def peer_of(network: AnyNetwork) -> str:
    """Return what the library is called that a network is compared with."""
    return "MONAI" if isinstance(network, Vista3D) else "transformers"


def peer_difference(network: AnyNetwork, spec: ModelSpec, ours: Mapping[str, Tensor]) -> float:
    """Return how far our answers are from those of another library's network with the same weights.

    Raises:
        MissingExtraError: If it is not installed, or has no such network.
    """
    if isinstance(network, Vista3D):
        return monai_difference(network, spec, ours)
    if isinstance(network, Sam):
        raise MissingExtraError(
            expected="transformers' SAM, asked for the same image",
            got="nothing: it sees images of the size that it learnt with alone, which takes minutes",
            do="see tests/parity/test_sam.py, where the two are compared",
        )
    if not isinstance(network, Vit):
        raise MissingExtraError(
            expected="a published network with the same decoder",
            got="none; transformers has the backbone alone",
            do="compare the backbone that it began with",
        )
    return difference(ours, transformers_answers(network, taps_of(network)))


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Return the largest relative difference, max|a - b| / max|b|, over all answers; infinite if one is not finite.

    Raises:
        CheckpointError: If they are not answers to the same questions.
    """
    if not ours or {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        raise CheckpointError(
            expected=f"answers {sorted(ours)} of equal shapes",
            got=str(sorted(theirs)),
            do="compare models of the same architecture",
        )
    worst = 0.0
    for name in ours:
        relative = ((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max().clamp_min(1e-30)).item()
        worst = max(worst, relative) if relative == relative else float("inf")  # noqa: PLR0124 - NaN is not itself
    return worst


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Answers kept beside weights."""

    answers: Mapping[str, Tensor]
    from_peer: float | None
    """How far they were from the other library's when they were written; ``None`` if that could not be asked."""


def monai_difference(network: Vista3D, spec: ModelSpec, ours: Mapping[str, Tensor]) -> float:
    """Return how far our answers are from those of MONAI's network with the same weights.

    Raises:
        MissingExtraError: If MONAI is not installed, or has no network with only one branch.
    """
    if not (spec.vista.class_branch and spec.vista.point_branch):
        raise MissingExtraError(
            expected="a network of MONAI's with one branch",
            got="none; MONAI's always has both",
            do="compare a checkpoint with both branches",
        )
    return difference(ours, monai_answers(to_official(network.state_dict(), prefix=""), spec))


def _sizes(spec: ModelSpec) -> VistaArchitecture:
    sizes = spec.vista
    assert isinstance(sizes, VistaArchitecture)  # ``load_model`` loads no other
    return sizes


def write_golden(folder: Path) -> None:
    """Keep today's answers of a model folder beside its weights, and how far they are from the other library's.

    Of a network that has no probe nothing is kept.

    Raises:
        CheckpointError: If the folder holds no sound model.
        DiskError: If it cannot be written.
    """
    model = load_any(folder)
    answers = answers_of(model.network, model.spec)
    if not answers:
        return
    metadata = {"format": "pt", "torch": str(torch.__version__), "weights_sha256": model.report.sha256}
    try:
        apart = peer_difference(model.network, model.spec, answers)
        metadata[f"from_{peer_of(model.network).lower()}"] = f"{apart:.3e}"
    except MissingExtraError as error:
        metadata["not_compared"] = error.got
    write_tensors(folder / GOLDEN_FILE, answers, metadata=metadata)


def read_golden(weights: Path, sha256: str) -> Golden | None:
    """Return the answers kept beside a weights file, or nothing where there are none for exactly these weights.

    Raises:
        CheckpointError: If they are damaged, or what stands there is no difference.
    """
    path = weights.with_name(GOLDEN_FILE)
    if not path.is_file():
        return None
    header = read_header(path)
    if header.metadata.get("weights_sha256") != sha256:
        return None
    answers = read_tensors(path, {name: name for name in header.tensors}, header=header)
    said = header.metadata.get("from_monai") or header.metadata.get("from_transformers")
    return Golden(answers=answers, from_peer=_difference_said(path, said) if said else None)


def _difference_said(path: Path, said: str) -> float:
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise CheckpointError(
            expected=f"in {path} a number that says how far its answers were from another library's",
            got=repr(said[:40]),
            do="delete it; `vesalius models convert` writes it anew",
        )
    return number
