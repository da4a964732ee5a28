"""Checkpoints of MedDINOv3's nnU-Net trainers (``fold_k/checkpoint_*.pth``): the network, and what it expects.

The file holds the whole training; only ``network_weights`` is used, and of ``init_args`` the plans and labels that
say what the network expects: spacing, patch, intensities, names of classes, and which way it cuts. nnU-Net reads an
image as an array (z, y, x), transposes it by ``transpose_forward``, and takes slices along the first axis of what
results. It takes files as they are stored; here they are turned to as files usually are (x to the left, y to the
back, z up; for readers that reorient, x to the right and y to the front), which is the same for those that are.
Trainers that start from Meta's weights drop the mask of the keys' biases and train them: such a file is refused,
with that reason, unless they are zero, which is the same function as ours.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from vesalius.checkpoints.formats.meddinov3_official import LAYOUT as MEDDINOV3
from vesalius.checkpoints.formats.vit_layout import VitTranslation, translate_encoder
from vesalius.checkpoints.header import Shape
from vesalius.errors import CheckpointError
from vesalius.models.outline import outline
from vesalius.spec import MedDinoArchitecture, ModelSpec, VitArchitecture

_DECODER = "up_projection.decode."
_TAPS, _DEPTH_OF_TAPS = (2, 5, 8, 11), 12
_IGNORED = "ignore"
_READ_AXES = {
    "SimpleITKIO": "SPL",
    "NibabelIO": "SPL",
    "SimpleITKIOWithReorient": "SAR",
    "NibabelIOWithReorient": "SAR",
}
"""nnU-Net's reader of images -> where the axes of what it returns point: (z, y, x), never (x, y, z)."""

ENCODER = replace(
    MEDDINOV3,
    name="nnunet meddinov3",
    prefix="dino_encoder.",
    heads=(),
    optional=("registers",),
    drops_masks=True,
)
"""The layout of the encoder; trainers that start from Meta's weights dropped registers and masks."""


@dataclass(frozen=True, kw_only=True)
class SliceTranslation:
    """What a file of these trainers holds, in our words."""

    encoder: VitTranslation
    architecture: MedDinoArchitecture
    names: Mapping[str, str]
    """Name in the file -> our name, of the decoder."""
    shapes: Mapping[str, Shape]
    """Our name -> shape."""

    @property
    def used(self) -> tuple[str, ...]:
        """Names in the file of the tensors that are in use, and of those that are compared."""
        return (*self.encoder.used, *self.names)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Tensors of the file that are left out."""
        return self.encoder.dropped

    @property
    def absent(self) -> tuple[str, ...]:
        """Tensors of ours that the file lacks; they are empty."""
        return tuple(f"encoder.{name}" for name in self.encoder.absent)

    def assemble(self, tensors: Mapping[str, Tensor], *, rope_base: float | None = None) -> dict[str, Tensor]:
        """Return the tensors under our names; see ``VitTranslation.assemble``."""
        assembled = self.encoder.assemble(tensors, rope_base=rope_base)
        encoder = {f"encoder.{name}": tensor for name, tensor in assembled.items()}
        return encoder | {ours: tensors[name] for name, ours in self.names.items()}


def recognises(names: Iterable[str]) -> bool:
    """Say whether these are the names of a network of these trainers."""
    return {f"{_DECODER}0.0.weight", "dino_encoder.cls_token"} <= set(names)


def translate(shapes: Mapping[str, Shape]) -> SliceTranslation:
    """Match the tensors of a file, by name and shape, with those of the network they make.

    Raises:
        CheckpointError: If a tensor is missing, unknown, or of a wrong shape; with the names.
    """
    encoder = translate_encoder(
        ENCODER, {name: shape for name, shape in shapes.items() if name.startswith("dino_encoder.")}
    )
    architecture = _infer_architecture(encoder.architecture, shapes)
    state = outline(architecture).state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in state.items()}
    doublings = (architecture.encoder.patch_size - 1).bit_length()
    names = {_their_name(name, doublings): name for name in ours if name.startswith("decoder.")}
    theirs = {name: shape for name, shape in shapes.items() if not name.startswith("dino_encoder.")}
    wrong = sorted(set(names) ^ set(theirs)) or sorted(n for n in names if theirs[n] != ours[names[n]])
    if wrong:
        raise CheckpointError(
            expected=f"the {len(names)} tensors of MedDINOv3's decoder below {_DECODER}",
            got=f"{len(wrong)} missing, unknown or of another shape: {', '.join(wrong[:6])}",
            do="take a checkpoint of the trainers meddinov3_base_primus_multiscale or meddinov3_base_primus",
        )
    return SliceTranslation(encoder=encoder, architecture=architecture, names=names, shapes=ours)


def spec_of(translation: SliceTranslation, around: Mapping[str, Any]) -> ModelSpec:
    """Return what the network expects, as the plans in the checkpoint say.

    Args:
        translation: Of its tensors.
        around: What stood beside the weights.

    Raises:
        CheckpointError: If the checkpoint does not say it, or says what we have no word for.
    """
    try:
        arguments = around["init_args"]
        plans, labels = arguments["plans"], arguments["dataset_json"]["labels"]
        configuration = _resolved(plans["configurations"], _word(arguments["configuration"]))
        intensities = plans["foreground_intensity_properties_per_channel"]["0"]
        named = {_word(name): int(label) for name, label in labels.items() if not isinstance(label, list | tuple)}
        height, width = (int(side) for side in configuration["patch_size"])
        spacing = [float(side) for side in configuration["spacing"]][-2:]
        window = (float(intensities["percentile_00_5"]), float(intensities["percentile_99_5"]))
        mean_std = (float(intensities["mean"]), float(intensities["std"]))
        mirrored = tuple(sorted(int(axis) for axis in around.get("inference_allowed_mirroring_axes") or ()))
        schemes, dataset = (
            [_word(one) for one in configuration["normalization_schemes"]],
            _word(plans["dataset_name"]),
        )
        reader = _word(plans["image_reader_writer"])
        forward, backward = ([int(n) for n in plans[f"transpose_{way}"]] for way in ("forward", "backward"))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _no_plans(f"{type(error).__name__}: {error}") from None
    classes = _with_channels(named)
    count, depth = translation.architecture.num_classes, translation.architecture.encoder.depth
    if translation.architecture.taps == _TAPS and depth != _DEPTH_OF_TAPS:
        raise CheckpointError(
            expected=f"{_DEPTH_OF_TAPS} blocks below a decoder of four depths, which are {_TAPS} of them",
            got=f"{depth} blocks; nothing in the file says which four are decoded",
            do="put a spec.json beside it that says its `taps`, and call the file model.pth",
        )
    if schemes != ["CTNormalization"] or sorted(classes.values()) != list(range(count)):
        raise _no_plans(f"{', '.join(schemes)}, and labels {reprlib.repr(classes)} for {count} channels")
    vocabulary = tuple(sorted((label, name) for name, label in classes.items() if label))
    return ModelSpec(
        name=dataset,
        version="unknown",
        architecture=translation.architecture,
        spacing_mm=(spacing[0], spacing[1], 0.0),
        orientation=_slice_axes(reader, forward, backward),
        window_hu=window,
        normalisation="fixed",
        mean_std_hu=mean_std,
        outside_hu=mean_std[0],
        window_size=(height, width, 1),
        overlap=0.5,
        mirror_axes=mirrored,  # nnU-Net swaps no names where it mirrors
        vocabulary=vocabulary,
        everything=tuple(label for label, _ in vocabulary),
        licence="unknown",
        provenance=f"a checkpoint of MedDINOv3's nnU-Net trainers, configuration {arguments['configuration']}",
    )


def _with_channels(named: Mapping[str, int]) -> dict[str, int]:
    """Return the labels that the network answers with: of what is to be ignored in training it knows nothing.

    nnU-Net's ``ignore`` is the number after those of the others, and has no channel.
    """
    others = {name: label for name, label in named.items() if name != _IGNORED}
    return others if named.get(_IGNORED) == len(others) else dict(named)


def _slice_axes(reader: str, forward: list[int], backward: list[int]) -> str:
    """Return where rows, columns and slices of what the network sees point: slices are the first axis of nnU-Net's.

    Raises:
        CheckpointError: For a reader of other images, or axes that do not come back where they were.
    """
    if reader not in _READ_AXES:
        raise _no_plans(f"images read by {reader}, whose axes have no known direction")
    if sorted(forward) != [0, 1, 2] or [forward.index(axis) for axis in range(3)] != backward:
        raise _no_plans(f"axes transposed by {forward} and back by {backward}, which is not back")
    slices, rows, columns = (_READ_AXES[reader][axis] for axis in forward)
    return rows + columns + slices


def _their_name(ours: str, doublings: int) -> str:
    parts = ours.split(".")
    if parts[1] == "classify":
        return f"{_DECODER}{doublings}.{parts[2]}"
    return f"{_DECODER}{parts[2]}.{'0' if parts[3] == 'upsample' else '1'}.{parts[4]}"


def _infer_architecture(encoder: VitArchitecture, shapes: Mapping[str, Shape]) -> MedDinoArchitecture:
    doublings = (encoder.patch_size - 1).bit_length()
    first, last = shapes[f"{_DECODER}0.0.weight"], shapes.get(f"{_DECODER}{doublings}.weight", ())
    depths = first[0] / encoder.width if first else 0
    taps = {1: (encoder.depth - 1,), len(_TAPS): _TAPS}.get(int(depths) if depths == int(depths) else 0)
    if taps is None or max(taps) >= encoder.depth or len(last) != 4 or not 1 <= last[0] <= 10_000:
        raise CheckpointError(
            expected="MedDINOv3's decoder of one depth or of four, and a last map to classes",
            got=f"a first map of shape {list(first)} for width {encoder.width}, a last of {list(last)}",
            do="take a checkpoint of the trainers meddinov3_base_primus_multiscale or meddinov3_base_primus",
        )
    return MedDinoArchitecture(encoder=encoder, taps=taps, decoder="primus", num_classes=last[0])


def _resolved(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration of plans with what it inherits; each at most once."""
    chain: list[str] = []
    while name not in chain:
        chain.append(name)
        name = _word(configurations[name].get("inherits_from", name))
    resolved: dict[str, Any] = {}
    for ancestor in reversed(chain):
        resolved |= configurations[ancestor]
    return resolved


def _word(value: object) -> str:
    """Return a word; lists of a file that hold one another could be spelled without end."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} where a word is expected")
    return value


def _no_plans(got: str) -> CheckpointError:
    return CheckpointError(
        expected="plans and labels of one CT channel with plain classes, in init_args of the checkpoint",
        got=got[:300],
        do="put a spec.json beside it that says what the network expects, and call the file model.pth",
    )
