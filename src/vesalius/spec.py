"""ModelSpec: everything a model expects and is, in plain data, saved beside its weights as ``spec.json``.

Preprocessing, inference, serving, training and reports all read this one; no second place states a spacing, a
Hounsfield window or a class id.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vesalius.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class VistaArchitecture:
    """The sizes of a VISTA3D network (SegResNet encoder, two decoders, class head, point head)."""

    kind: Literal["vista3d"] = "vista3d"
    in_channels: int = 1
    width: int = 48
    """Channels of the finest level, of the decoders' output and of both heads; doubles with every level."""
    blocks_down: tuple[int, ...] = (1, 2, 2, 4, 4)
    """Residual blocks of each encoder level; their number is the number of levels."""
    num_embeddings: int = 512
    """Rows of the class embedding table."""
    last_supported: int = 132
    """The highest class id the point head treats as supported; above it a click is zero-shot."""
    special_classes: tuple[int, ...] = (23, 24, 25, 26, 27, 57, 128)
    """Classes whose clicks carry the special-class embedding."""
    class_branch: bool = True
    """Whether the weights hold the automatic decoder and the class head."""
    point_branch: bool = True
    """Whether the weights hold the interactive decoder and the point head."""

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or len(self.blocks_down) < 2 or min(self.blocks_down) < 1:
            raise _bad_spec("an even width and at least two levels of at least one block", self)

    @property
    def size_multiple(self) -> int:
        """Every side of a window must be a multiple of this."""
        return int(2 ** (len(self.blocks_down) - 1))


Architecture = VistaArchitecture
"""One of the networks ``models.build`` knows; a union once there are several."""

Padding = Literal["constant", "replicate"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model expects of an image, what it can name, and where it comes from."""

    name: str
    version: str = "1"
    architecture: Architecture
    modality: Literal["CT", "MR"] = "CT"
    regions: tuple[str, ...] = ()
    """Body regions it was made for, in words."""
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 1.5)
    """Voxel size the network sees."""
    spacing_range_mm: tuple[float, float] = (0.1, 10.0)
    """Input voxel sizes it was measured on, smallest and largest; outside them results are marked."""
    orientation: str = "RAS"
    window_hu: tuple[float, float] = (-963.8247715525971, 1053.678477684517)
    """Hounsfield units mapped to 0 and 1; values outside are clipped."""
    window_size: tuple[int, int, int] = (128, 128, 128)
    """Voxels of the sliding window; part of the model, because instance norm sees the whole window."""
    overlap: float = 0.25
    """Part of a window shared with its neighbour, by default."""
    vocabulary: tuple[tuple[int, str], ...] = ()
    """(class id, name): what the class head can be asked for; ids are rows of its embedding table."""
    everything: tuple[int, ...] = ()
    """Ids of the classes segmented when no classes are named."""
    single_piece: tuple[int, ...] = ()
    """Ids of structures that are one piece: of these only the largest component is kept."""
    dice: Mapping[str, float] = field(default_factory=dict)
    """Name -> mean Dice as measured (``dice_source`` says on what); empty where never measured."""
    dice_source: str = ""
    """What ``dice`` was measured on, with n and who drew the labels."""
    confidence: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Name -> intercept and slope of the line that predicts Dice from mean probability; see
    ``inference.confidence``. Absent for classes with too few development cases."""
    licence: str = ""
    provenance: str = ""
    """Where the weights come from: file, revision, training script."""
    citation: str = ""

    def __post_init__(self) -> None:
        multiple = self.architecture.size_multiple
        if any(side % multiple for side in self.window_size):
            raise _bad_spec(f"window sides that are multiples of {multiple}", self.window_size)
        if not self.window_hu[0] < self.window_hu[1]:
            raise _bad_spec("window_hu from low to high", self.window_hu)
        if not 0 <= self.overlap < 1 or min(self.spacing_mm) <= 0:
            raise _bad_spec("an overlap in [0, 1) and a positive spacing", (self.overlap, self.spacing_mm))
        unknown = {*self.everything, *self.single_piece} - {label for label, _ in self.vocabulary}
        if unknown:
            raise _bad_spec("`everything` and `single_piece` to name ids of the vocabulary", sorted(unknown))
        object.__setattr__(self, "dice", dict(self.dice))
        object.__setattr__(self, "confidence", dict(self.confidence))

    @property
    def names(self) -> dict[int, str]:
        """Class id -> name."""
        return dict(self.vocabulary)

    def to_json(self) -> str:
        """Return the spec as JSON text; ``from_json`` reads it back equal."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a spec.

        Raises:
            CheckpointError: If it is not JSON, or has an unknown, missing or wrong field.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _bad_spec("JSON", error) from None
        if not isinstance(fields, dict) or not isinstance(fields.get("architecture"), dict):
            raise _bad_spec("an object with an `architecture`", type(fields).__name__)
        kind = fields["architecture"].get("kind")
        if kind != "vista3d":
            raise _bad_spec('an architecture of kind "vista3d"', repr(kind))
        fields["architecture"] = _build(VistaArchitecture, fields["architecture"])
        spec = _build(cls, fields)
        assert isinstance(spec, ModelSpec)
        return spec


def _build(kind: type[Any], fields: dict[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    if set(fields) - known:
        raise _bad_spec(f"only the fields {sorted(known)}", f"also {sorted(set(fields) - known)}")
    try:
        return kind(**{name: _as_tuple(value) for name, value in fields.items()})
    except (TypeError, ValueError, LookupError) as error:  # from the checks: too few entries, words for numbers
        raise _bad_spec("every field with its own kind of value", error) from None


def _as_tuple(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_tuple(item) for name, item in value.items()}
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _bad_spec(expected: str, got: object) -> CheckpointError:
    return CheckpointError(
        expected=f"a model spec with {expected}",
        got=str(got),
        do="take the spec.json that came with the weights",
    )
