"""ModelSpec: everything a model expects and is, in plain data, saved beside its weights as ``spec.json``.

Preprocessing, inference, serving, training and reports all read this one; no second place states a spacing, a
Hounsfield window or a class id.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import json
import reprlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vesalius.errors import CheckpointError, NoHeadError
from vesalius.hounsfield import AIR_HU

LARGEST: Mapping[str, int] = {
    "in_channels": 64,
    "patch_size": 64,
    "width": 8192,
    "depth": 100,
    "heads": 1024,
    "registers": 64,
    "mlp_ratio": 8,
    "side": 8192,
    "window": 512,
    "neck_width": 8192,
    "rank": 8192,
    "neighbours": 255,
    "blocks_down": 32,
    "num_embeddings": 1_000_000,
    "num_classes": 10_000,
    "point_heads": 1024,
    "window_size": 8192,
}
"""Sizes up to which a network is made to compare a file's shapes with: a spec of a few bytes could ask for any."""
_MOST_LEVELS = 8


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
    point_heads: int = 4
    """Attention heads of the point head. Each compares places in ``width / 2 / point_heads`` dimensions, two for a
    frequency: a narrow network needs few heads to tell near from far."""

    def __post_init__(self) -> None:
        if min(self.point_heads, self.in_channels) < 1 or self.num_embeddings < 0:
            raise _bad_spec("at least one head and one channel, and no negative number of embeddings", self)
        if self.width < 2 or self.width % 2 or min(self.blocks_down, default=0) < 1:
            raise _bad_spec("an even width, and of each level at least one block", self)
        if not 2 <= len(self.blocks_down) <= _MOST_LEVELS:
            raise _bad_spec(f"two to {_MOST_LEVELS} levels", self)

    @property
    def size_multiple(self) -> int:
        """Every side of a window must be a multiple of this."""
        return int(2 ** (len(self.blocks_down) - 1))


class ClickLabel(IntEnum):
    """What VISTA3D's point head is told of a click; the special ones are for ``special_classes``."""

    PADDING = -1
    NEGATIVE = 0
    POSITIVE = 1
    SPECIAL_NEGATIVE = 2
    SPECIAL_POSITIVE = 3


@dataclass(frozen=True, kw_only=True)
class VitArchitecture:
    """The sizes of a DINOv3 vision transformer, a 2-D encoder without a head; by default MedDINOv3's ViT-B/16."""

    kind: Literal["vit"] = "vit"
    in_channels: int = 3
    """Channels of the stem; an image of one channel is accepted by a stem of any number."""
    patch_size: int = 16
    """Pixels along each side of a patch."""
    width: int = 768
    depth: int = 12
    """Number of blocks."""
    heads: int = 12
    mlp_ratio: int = 4
    """Inner width of the MLPs in widths."""
    registers: int = 4
    """Tokens beside the class token that stand for no place."""
    qkv_bias: bool = False
    """Whether queries and values have a bias; keys never have one."""
    norm_eps: float = 1e-6
    rope_base: float = 100.0
    """Longest period of the rotary position; the shortest is 1, the width of the image 2."""
    layer_scale: float = 1e-5
    """What LayerScale starts at."""

    def __post_init__(self) -> None:
        sizes = (self.in_channels, self.patch_size, self.width, self.depth, self.heads, self.mlp_ratio)
        if min(sizes) < 1 or self.registers < 0 or self.width % (4 * self.heads):
            raise _bad_spec("positive sizes, and a width that is a multiple of four times the heads", self)
        if self.norm_eps <= 0 or self.rope_base <= 0:
            raise _bad_spec("a positive norm_eps and rope_base", self)

    @property
    def size_multiple(self) -> int:
        """Both sides of a slice should be a multiple of this; others are padded."""
        return self.patch_size


VIT_TOY = VitArchitecture(patch_size=8, width=96, depth=4, heads=3)
"""Small enough to learn on a processor in minutes."""
VIT_SMALL = VitArchitecture(width=384, heads=6)
VIT_BASE = VitArchitecture()
VIT_LARGE = VitArchitecture(width=1024, depth=24, heads=16)


@dataclass(frozen=True, kw_only=True)
class SamArchitecture:
    """The sizes of SAM's image encoder and of what its mask decoder upscales that with; by default its ViT-B's."""

    kind: Literal["sam"] = "sam"
    patch_size: int = 16
    """Pixels along each side of a patch."""
    width: int = 768
    depth: int = 12
    """Number of blocks."""
    heads: int = 12
    mlp_ratio: int = 4
    """Inner width of the MLPs in widths."""
    side: int = 1024
    """Pixels along each side of the images it learnt with: positions of other images are interpolated."""
    window: int = 14
    """Patches along each side of the windows inside which most blocks look."""
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks, from 0, that look at the whole image."""
    neck_width: int = 256
    """Channels that are upscaled: to four times the patches along each side and an eighth of the channels."""
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Taken away from red, green and blue, in 0..255."""
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """What they are divided by."""

    def __post_init__(self) -> None:
        sizes = (self.patch_size, self.width, self.depth, self.heads, self.mlp_ratio, self.window, self.neck_width)
        if min(sizes) < 1 or self.width % self.heads or self.patch_size % 4 or self.neck_width % 8:
            raise _bad_spec("positive sizes, whole heads, a patch in fours and a neck in eights", self)
        if self.side < self.patch_size or self.side % self.patch_size:
            raise _bad_spec(f"a side of whole patches of {self.patch_size}", self)
        blocks = self.global_blocks
        if len({*blocks}) < len(blocks) or not {*blocks} <= {*range(self.depth)}:
            raise _bad_spec(f"global blocks from 0 to {self.depth - 1}, each once", self)
        if min(self.pixel_std) <= 0:
            raise _bad_spec("positive deviations of pixels", self)

    @property
    def in_channels(self) -> int:
        """Channels of an image: one stands for red, green and blue."""
        return 1

    @property
    def size_multiple(self) -> int:
        """Both sides of a slice should be a multiple of this; others are padded."""
        return self.patch_size


SAM_BASE = SamArchitecture()
SAM_LARGE = SamArchitecture(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
SAM_HUGE = SamArchitecture(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))


LinearName = Literal["qkv", "out", "expand", "contract"]
"""The linear maps of a transformer's block: into and out of attention, into and out of the MLP."""
Site = Literal["before_attention", "after_attention", "after_mlp"]
"""Where in a transformer's block a module can be put."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """To each chosen map, two thin matrices whose product is added to it (arXiv:2106.09685)."""

    kind: Literal["lora"] = "lora"
    rank: int = 8
    scale: float = 1.0
    """Factor of the product."""
    maps: tuple[LinearName, ...] = ("qkv", "out")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.maps:
            raise _bad_spec("a positive rank and at least one map", self)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """All chosen maps of all blocks as one tensor: two factors they share, a small core each (arXiv:2212.03145)."""

    kind: Literal["fact"] = "fact"
    rank: int = 16
    scale: float = 1.0
    """Factor of the product."""
    maps: tuple[LinearName, ...] = ("qkv", "out", "expand", "contract")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.maps:
            raise _bad_spec("a positive rank and at least one map", self)


@dataclass(frozen=True, kw_only=True)
class Depth:
    """At one site of every block, a narrow convolution along slices: a third dimension for a 2-D encoder."""

    kind: Literal["depth"] = "depth"
    width: int = 64
    """Channels inside."""
    neighbours: int = 5
    """Slices that are seen at once; odd."""
    site: Site = "before_attention"

    def __post_init__(self) -> None:
        if self.width < 1 or self.neighbours < 1 or self.neighbours % 2 == 0:
            raise _bad_spec("a positive width and an odd number of slices", self)


AdapterPlan = Lora | Fact | Depth
"""What is attached to a frozen encoder and learns in its place."""


@dataclass(frozen=True, kw_only=True)
class MedDinoArchitecture:
    """A vision transformer and a decoder that labels the pixels of slices."""

    kind: Literal["meddinov3"] = "meddinov3"
    encoder: VitArchitecture = VIT_BASE
    taps: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks whose features are decoded, from 0; one makes a decoder of one depth."""
    decoder: Literal["fused", "primus", "linear"] = "fused"
    """``fused`` brings all depths to one width first, ``primus`` is the published one, ``linear`` is one map."""
    num_classes: int = 2
    """Background included, which is 0."""
    adapters: tuple[AdapterPlan, ...] = ()
    """What is attached to the encoder, which is then frozen."""

    def __post_init__(self) -> None:
        depth = self.encoder.depth
        if not self.taps or min(self.taps) < 0 or max(self.taps) >= depth or self.num_classes < 1:
            raise _bad_spec(f"taps from 0 to {depth - 1}, and at least one class", self)

    @property
    def in_channels(self) -> int:
        """Channels of the encoder's stem."""
        return self.encoder.in_channels

    @property
    def size_multiple(self) -> int:
        """Both sides of a slice should be a multiple of this; others are padded."""
        return self.encoder.patch_size


@dataclass(frozen=True, kw_only=True)
class PromptedVitArchitecture:
    """A vision transformer that sees volumes slice by slice, and VISTA3D's heads for class prompts and clicks."""

    kind: Literal["prompted_vit"] = "prompted_vit"
    encoder: VitArchitecture = VIT_BASE
    adapters: tuple[AdapterPlan, ...] = ()
    """What is attached to the encoder, which is then frozen; one along slices gives it a third dimension."""
    taps: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks whose features are decoded, from 0."""
    mean_std: tuple[float, float] = (0.0, 1.0)
    """What is taken away from intensities in 0..1, and what they are divided by, before the encoder sees them."""
    width: int = 48
    """Channels of the decoders' output and of both heads."""
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
    point_heads: int = 4
    """Attention heads of the point head."""

    def __post_init__(self) -> None:
        depth = self.encoder.depth
        if not self.taps or min(self.taps) < 0 or max(self.taps) >= depth:
            raise _bad_spec(f"taps from 0 to {depth - 1}", self)
        if self.width < 2 or self.width % 2 or self.point_heads < 1 or self.encoder.patch_size % 2:
            raise _bad_spec("an even width, an even patch and at least one head", self)
        if self.num_embeddings < 0:
            raise _bad_spec("no negative number of embeddings", self)
        if self.mean_std[1] <= 0:
            raise _bad_spec("a positive standard deviation", self)

    @property
    def in_channels(self) -> int:
        """Channels of a window: one stands for all of the encoder's stem."""
        return 1

    @property
    def size_multiple(self) -> int:
        """Every side of a window must be a multiple of this."""
        return self.encoder.patch_size


PromptArchitecture = VistaArchitecture | PromptedVitArchitecture
"""Networks of volumes that take class prompts and clicks: an encoder each, and the same heads."""

Architecture = VistaArchitecture | VitArchitecture | MedDinoArchitecture | PromptedVitArchitecture | SamArchitecture
"""One of the networks ``models.build`` knows."""

Normalisation = Literal["window", "percentiles", "fixed", "slice"]


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
    """Voxel size the network sees; of a 2-D network the third is 0: slices stay where they are. With depth adapters
    it is the distance of the slices that it learnt to look at together; 0, where nobody said."""
    spacing_range_mm: tuple[float, float] = (0.1, 10.0)
    """Input voxel sizes it was measured on, smallest and largest; outside them results are marked."""
    orientation: str = "RAS"
    window_hu: tuple[float, float] = (-963.8247715525971, 1053.678477684517)
    """Hounsfield units mapped to 0 and 1; values outside are clipped."""
    normalisation: Normalisation = "window"
    """What clipped values become: ``window`` maps ``window_hu`` to 0..1; ``percentiles`` does so after it has
    brought ``window_percentiles`` of each image's own voxels to the ends of ``window_hu``; ``fixed`` takes away the
    mean and divides by the deviation of ``mean_std_hu``; ``slice`` does so with those of each slice."""
    window_percentiles: tuple[float, float] = (0.5, 99.5)
    """Of ``percentiles``, for images whose numbers have no unit, such as MR."""
    mean_std_hu: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation of ``fixed``."""
    outside_hu: float = AIR_HU
    """Of a 2-D network: what fills a window where it reaches beyond the slice, before it is normalised."""
    window_size: tuple[int, int, int] = (128, 128, 128)
    """Voxels of the sliding window; part of the model, because instance norm sees the whole window. Of a 2-D
    network the third is 1, or with depth adapters the number of slices it learnt to look at together."""
    overlap: float = 0.25
    """Part of a window shared with its neighbour, by default."""
    mirror_axes: tuple[int, ...] = ()
    """Of a network that labels slices: along which axes (0 rows, 1 columns) its training mirrored them; only
    along these may its answers to reflections be averaged."""
    mirror_swaps_sides: bool = False
    """Whether names of left and right were swapped where that mirroring was along the axis that runs from one to
    the other."""
    click_reach_mm: float | None = None
    """How far from a click its word counts at least against a mask that was there before, farther where the object
    is large, falling from half of the way on; where the network sees nothing, a click takes a ball of half of it.
    None: all of its window, and perhaps nothing, as published."""
    click_pull: float | None = None
    """By how much a click moves the logits where it lies, falling with a standard deviation of half the reach
    (``inference.pull``). None: not at all, as published."""
    unnamed_trust: float | None = None
    """Weight, 0 to 1, of the logits for a structure without a name, beside how far its clicks reach and what is as
    bright as they are (``inference.extent``). None: the network alone is asked, as published."""
    vocabulary: tuple[tuple[int, str], ...] = ()
    """(class id, name): what the model can be asked for; ids are rows of the class head's embedding table, or
    channels of a slice model's logits."""
    everything: tuple[int, ...] = ()
    """Ids of the classes segmented when no classes are named."""
    single_piece: tuple[int, ...] = ()
    """Ids of structures that are one piece: of these only the largest component is kept."""
    dice: Mapping[str, float] = field(default_factory=dict)
    """Name -> mean Dice as measured (``dice_source`` says on what); empty where never measured."""
    dice_source: str = ""
    """What ``dice`` was measured on, with n and who drew the labels."""
    confidence: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    """Name -> what predicts the Dice of a result: intercept, slope along mean probability, slope along what is
    missing of the usual volume, usual volume in ml; see ``inference.confidence``. Absent for classes with too few
    development cases."""
    licence: str = ""
    provenance: str = ""
    """Where the weights come from: file, revision, training script."""
    citation: str = ""

    def __post_init__(self) -> None:
        multiple = self.architecture.size_multiple
        is_planar = not isinstance(self.architecture, VistaArchitecture | PromptedVitArchitecture)
        if min(self.window_size) < 1 or any(side % multiple for side in self.window_size[: 2 if is_planar else 3]):
            raise _bad_spec(f"window sides that are positive multiples of {multiple}", self.window_size)
        if len(self.orientation) != 3 or any(
            len({*self.orientation} & {*ends}) != 1 for ends in ("RL", "AP", "SI")
        ):
            raise _bad_spec("an orientation of one letter each of RL, AP and SI", repr(self.orientation))
        adapters = self.architecture.adapters if isinstance(self.architecture, MedDinoArchitecture) else ()
        if is_planar and self.window_size[2] != 1 and not any(isinstance(plan, Depth) for plan in adapters):
            raise _bad_spec("windows of one slice for a network that sees no neighbours", self.window_size)
        self._check_clicks()
        labels_slices = isinstance(self.architecture, MedDinoArchitecture)
        if self.mirror_axes not in (((), (0,), (1,), (0, 1)) if labels_slices else ((),)):
            raise _bad_spec("mirrored axes 0, 1 or both, of a network that labels slices", self.mirror_axes)
        if self.mean_std_hu[1] <= 0:
            raise _bad_spec("a positive standard deviation", self.mean_std_hu)
        if not self.window_hu[0] < self.window_hu[1]:
            raise _bad_spec("window_hu from low to high", self.window_hu)
        if self.normalisation not in get_args(Normalisation):
            raise _bad_spec(f"a normalisation: {', '.join(get_args(Normalisation))}", repr(self.normalisation))
        low, high = self.window_percentiles
        if not 0 <= low < high <= 100 or (is_planar and self.normalisation == "percentiles"):
            raise _bad_spec("percentiles from 0 to 100, low to high, of a network of volumes", (low, high))
        if not 0 <= self.overlap < 1 or min(self.spacing_mm[: 2 if is_planar else 3]) <= 0:
            raise _bad_spec("an overlap in [0, 1) and a positive spacing", (self.overlap, self.spacing_mm))
        unknown = {*self.everything, *self.single_piece} - {label for label, _ in self.vocabulary}
        if unknown:
            raise _bad_spec("`everything` and `single_piece` to name ids of the vocabulary", sorted(unknown))
        if any(len(numbers) != 4 for numbers in self.confidence.values()):
            raise _bad_spec("four numbers of `confidence` for a class", dict(self.confidence))
        object.__setattr__(self, "dice", dict(self.dice))
        object.__setattr__(self, "confidence", dict(self.confidence))

    def _check_clicks(self) -> None:
        reach, pull, trust = self.click_reach_mm, self.click_pull, self.unnamed_trust
        if reach is not None and reach <= 0:
            raise _bad_spec("a positive reach of clicks, or none", reach)
        if pull is not None and (pull <= 0 or reach is None):
            raise _bad_spec("a positive pull of clicks that have a reach, or none", pull)
        if trust is not None and (not 0 <= trust <= 1 or reach is None):
            raise _bad_spec("a trust from 0 to 1, for clicks that have a reach, or none", trust)

    @property
    def names(self) -> dict[int, str]:
        """Class id -> name."""
        return dict(self.vocabulary)

    @property
    def vista(self) -> PromptArchitecture:
        """The architecture of a network that takes class prompts and clicks.

        Raises:
            NoHeadError: If it is a bare backbone.
            CheckpointError: If it labels slices.
        """
        self.require_head("BACKBONE")
        assert not isinstance(self.architecture, VitArchitecture | SamArchitecture)
        if isinstance(self.architecture, MedDinoArchitecture):
            raise CheckpointError(
                expected="a network that takes class prompts or clicks",
                got=f"{self.name}, which labels slices",
                do="segment with it; for clicks take a model with a head for them (`vesalius models list`)",
            )
        return self.architecture

    def require_head(self, source: str | Path) -> None:
        """Refuse a bare backbone, with the line that teaches it, or that divides scans with it.

        Args:
            source: By what it was named: a name, a folder or a file. The spec's own name need not lead to it.

        Raises:
            NoHeadError: If it is one.
        """
        if isinstance(self.architecture, VitArchitecture):
            raise NoHeadError(
                expected="a model with a head, which can segment",
                got=f"{self.name}, a backbone that was trained without labels",
                do=f"teach it: vesalius finetune --model {shlex.quote(str(source))} --data LIST --run DIR",
            )
        if isinstance(self.architecture, SamArchitecture):
            raise NoHeadError(
                expected="a model with a head, which can segment",
                got=f"{self.name}, SAM's encoder alone: its prompts and masks are of photographs, and are not read",
                do="divide scans into supervoxels with it: vesalius curate supervoxels "
                f"--model {shlex.quote(str(source))} --data LIST -o STORE",
            )

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
        spec = _build(cls, fields)
        assert isinstance(spec, ModelSpec)
        rows, ids = _rows_of(spec.architecture), [label for label, _ in spec.vocabulary]
        if rows is not None and any(not 0 <= label < rows for label in ids):
            raise _bad_spec(f"class ids from 0 to {rows - 1}", reprlib.repr(ids))
        return spec


def _rows_of(architecture: Architecture) -> int | None:
    """Return how many classes the weights have an answer for; None where they have none at all."""
    if isinstance(architecture, MedDinoArchitecture):
        return architecture.num_classes
    if isinstance(architecture, VitArchitecture | SamArchitecture):
        return None
    return architecture.num_embeddings if architecture.class_branch else None


def _build(kind: Any, fields: dict[str, Any]) -> Any:
    """Return a dataclass of this file from plain data that may come from anybody."""
    types = _types_of(kind)
    if set(fields) - set(types):
        raise _bad_spec(
            f"only the fields {sorted(types)}", f"also {reprlib.repr(sorted(set(fields) - set(types)))}"
        )
    values = {name: _read(types[name], value, name) for name, value in fields.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise _bad_spec("every field that has no default", error) from None


@cache
def _types_of(kind: Any) -> Mapping[str, Any]:
    types = get_type_hints(kind)
    return {f.name: types[f.name] for f in dataclasses.fields(kind)}


def _read(annotation: Any, value: Any, name: str) -> Any:
    """Return a value of a field as its annotation says, lists as tuples."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        if type(None) in parts:
            return None if value is None else _read(parts[0], value, name)
        kinds = {get_args(_types_of(part)["kind"])[0]: part for part in parts}
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise _bad_spec(f"`{name}` of kind {' or '.join(kinds)}", reprlib.repr(kind))
        return _build(kinds[kind], value)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) and isinstance(value, dict):
        return _build(annotation, value)
    if origin is tuple and isinstance(value, list):
        kinds_of_items = parts[:1] * len(value) if parts[-1] is ... else parts
        if len(kinds_of_items) == len(value):
            return tuple(_read(part, item, name) for part, item in zip(kinds_of_items, value, strict=True))
    if origin is Mapping and isinstance(value, dict):
        return {key: _read(parts[1], item, name) for key, item in value.items()}
    if not _is_plain(annotation, value):
        raise _bad_spec(f"`{name}` as {_in_words(annotation)}", reprlib.repr(value))
    if type(value) is int and value > LARGEST.get(name, value):
        raise _bad_spec(f"`{name}` of at most {LARGEST[name]}", reprlib.repr(value))
    return float(value) if annotation is float else value


def _in_words(annotation: Any) -> str:
    """Return what an annotation allows in JSON, as people say it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(parts)}" if len(parts) > 1 else repr(parts[0])
    if origin is tuple and parts[-1] is not ...:
        return f"a list of {len(parts)} {_WORDS[parts[0]][1] if len({*parts}) == 1 else 'values'}"
    if origin is tuple:
        return f"a list of {_WORDS[parts[0]][1]}" if parts[0] in _WORDS else "a list"
    return _WORDS[annotation][0] if annotation in _WORDS else "an object"


_WORDS: Mapping[Any, tuple[str, str]] = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "numbers"),
    str: ("a text", "texts"),
}
"""Type -> one of it and several, as people say it."""


def _is_plain(annotation: Any, value: Any) -> bool:
    """Say whether a value of JSON is a choice, a word, a truth value or a finite number, as an annotation says."""
    if get_origin(annotation) is Literal:
        return isinstance(value, str) and value in get_args(annotation)
    if annotation is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # neither nan nor infinite
    return annotation in (bool, int, str) and type(value) is annotation


def _bad_spec(expected: str, got: object) -> CheckpointError:
    return CheckpointError(
        expected=f"a model spec with {expected}",
        got=str(got),
        do="take the spec.json that came with the weights",
    )
