"""How the layouts of DINOv3 checkpoints differ: a table of names each, and one strict way to read them.

Strict: every tensor of a file is accounted for, by name and shape, before one is read. What is left out is named in
the report: tensors that only pretraining uses, and constants (the periods of the rotary position, which are
compared with ours; the mask that zeroes the keys' bias, which our network does not have).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vesalius.checkpoints.header import Shape
from vesalius.errors import CheckpointError
from vesalius.models.layers.rotary import periods
from vesalius.models.outline import outline
from vesalius.spec import LARGEST, ModelSpec, VitArchitecture

_PERIODS_TOLERANCE = 0.01
"""Relative; rounding to bf16, in which some files keep the periods, changes them by 0.004 at most."""


@dataclass(frozen=True)
class Piece:
    """A tensor of a file, or one of the equal parts of its first axis."""

    name: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, kw_only=True)
class VitLayout:
    """The names of one kind of checkpoint. Names inside blocks are written without ``blocks.N.``."""

    name: str
    """What the report calls it."""
    renames: Mapping[str, str]
    """Our names, or beginnings of names -> theirs; the first that fits counts, and others are equal."""
    block: str = "blocks."
    """What stands before the number of a block."""
    prefix: str = ""
    """What stands before every name of the encoder."""
    splits_qkv: bool = False
    """Whether queries, keys and values are maps of their own."""
    query_bias: Piece
    value_bias: Piece
    marks: tuple[str, ...]
    """Names that a file of this layout has and other files have not."""
    lacks: tuple[str, ...] = ()
    """Names that a file of this layout has not, and of another with the same marks has."""
    periods: str = ""
    """The name of the periods of the rotary position, where the layout stores them."""
    unused: tuple[str, ...] = ()
    """Patterns of names of the encoder that are left out."""
    heads: tuple[str, ...] = ()
    """Beginnings of names beside the encoder, of parts that only pretraining uses."""
    optional: tuple[str, ...] = ()
    """Our names that files may lack; they become zeros."""
    drops_masks: bool = False
    """Whether files come without the masks of the keys' biases. Nothing zeroes these then, so they must be zero."""
    norm_eps: float
    """No file says it."""
    specs: tuple[ModelSpec, ...]
    """What the published weights of this layout expect; others are taken to expect the same as the first."""

    def recognises(self, names: Iterable[str]) -> bool:
        """Say whether these are the names of a checkpoint in this layout."""
        found = set(names)
        has_marks = found.issuperset(self.prefix + mark for mark in self.marks)
        return has_marks and found.isdisjoint(self.prefix + name for name in self.lacks)

    def pieces(self, ours: str) -> tuple[Piece, ...]:
        """Return what one of our tensors is made of, joined along the first axis."""
        match = re.match(r"blocks\.(\d+)\.", ours)
        inner = ours[match.end() :] if match else ours
        before = self.prefix + (f"{self.block}{match[1]}." if match else "")
        if inner in ("attention.query_bias", "attention.value_bias"):
            piece = self.query_bias if inner == "attention.query_bias" else self.value_bias
            return (Piece(before + piece.name, piece.part, piece.parts),)
        if inner == "attention.qkv.weight" and self.splits_qkv:
            return tuple(Piece(f"{before}attention.{which}_proj.weight") for which in "qkv")
        for our_start, their_start in self.renames.items():
            if inner == our_start or inner.startswith(our_start + "."):
                return (Piece(before + their_start + inner[len(our_start) :]),)
        return (Piece(before + inner),)


@dataclass(frozen=True, kw_only=True)
class VitTranslation:
    """What a file in a foreign layout holds, in our words."""

    layout: VitLayout
    architecture: VitArchitecture
    sources: Mapping[str, tuple[Piece, ...]]
    """Our name -> what it is made of; nothing means zeros."""
    shapes: Mapping[str, Shape]
    """Our name -> shape."""
    dropped: tuple[str, ...]
    """Tensors of the file that are left out."""
    absent: tuple[str, ...]
    """Our tensors that the file lacks, which become zeros."""
    unmasked: tuple[str, ...] = ()
    """Biases of queries, keys and values in one tensor that has no mask; those of the keys must be zero."""

    @property
    def used(self) -> tuple[str, ...]:
        """Names in the file of the tensors that are in use, and of the periods that are compared."""
        names = {piece.name for pieces in self.sources.values() for piece in pieces}
        audited = self.layout.prefix + self.layout.periods
        return tuple(sorted(names | ({audited} if audited in self.dropped else set())))

    def assemble(self, tensors: Mapping[str, Tensor], *, rope_base: float | None = None) -> dict[str, Tensor]:
        """Return the tensors under our names.

        Args:
            tensors: Name in the file -> tensor, of all that are ``used``.
            rope_base: Of the network that is to be loaded, as its spec says; None is the published one.

        Raises:
            CheckpointError: If the file's periods are not those of our rotary position, or keys have biases.
        """
        self._audit_key_biases(tensors)
        self._audit_periods(tensors, self.architecture.rope_base if rope_base is None else rope_base)
        assembled = {}
        for ours, pieces in self.sources.items():
            parts = [tensors[piece.name].chunk(piece.parts)[piece.part] for piece in pieces]
            joined = torch.cat(parts) if parts else torch.zeros(self.shapes[ours])
            assembled[ours] = joined.reshape(self.shapes[ours])
        return assembled

    def _audit_key_biases(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse biases of keys that are in force: a query meets each after it was turned by the key's place.

        Without the rotary position they would add one number to all of a query's logits, which softmax takes away.
        """
        largest = {name: float(tensors[name].float().chunk(3)[1].abs().max()) for name in self.unmasked}
        biased = [name for name, size in largest.items() if size != 0]
        if biased:
            raise CheckpointError(
                expected="keys without biases, as our network has them: DINOv3's are masked, MedDINOv3 has none",
                got=f"biases of keys in force in {len(biased)} blocks, {biased[0]} up to {largest[biased[0]]:.3g}; "
                "the file is whole, but trainers that start from Meta's weights drop the mask and train them",
                do="take a checkpoint of the trainers meddinov3_base_*, or train anew with `vesalius finetune`",
            )

    def _audit_periods(self, tensors: Mapping[str, Tensor], rope_base: float) -> None:
        stored = tensors.get(self.layout.prefix + self.layout.periods)
        if stored is None:
            return
        sizes = self.architecture
        ours = periods(sizes.width // sizes.heads, rope_base)
        if not bool(((stored.float().cpu() / ours - 1).abs() <= _PERIODS_TOLERANCE).all()):
            raise CheckpointError(
                expected=f"rotary periods from 1 towards {rope_base:g} in {self.layout.periods}",
                got=f"{stored.flatten()[0].item():.4g} to {stored.flatten()[-1].item():.4g}",
                do="take weights of DINOv3's ViT; others need a spec.json with their rope_base",
            )


def translate_encoder(layout: VitLayout, shapes: Mapping[str, Shape]) -> VitTranslation:
    """Match the tensors of a file, by name and shape, with those of the network they make.

    Args:
        layout: Which recognises the names.
        shapes: Name -> shape, as in the file.

    Raises:
        CheckpointError: If a tensor is missing, unknown, or of a wrong shape; with the names.
    """
    architecture = _infer_architecture(layout, shapes)
    ours = {name: tuple(tensor.shape) for name, tensor in outline(architecture).state_dict().items()}
    absent = tuple(name for name in layout.optional if layout.pieces(name)[0].name not in shapes)
    sources = {name: () if name in absent else layout.pieces(name) for name in ours}
    known = {piece.name for pieces in sources.values() for piece in pieces}
    unused = [re.compile(re.escape(layout.prefix) + pattern) for pattern in layout.unused]
    dropped = {
        name
        for name in set(shapes) - known
        if name.startswith(layout.heads) or any(pattern.fullmatch(name) for pattern in unused)
    }
    unmasked = _unmasked(sources, shapes)
    masks = [] if layout.drops_masks else [f"{name}_mask" for name in unmasked]
    faults = {
        "missing": sorted(known - set(shapes)) + masks,
        "unknown": sorted(set(shapes) - known - dropped),
        "of a wrong shape": [name for name in ours if not _fits(sources[name], ours[name], shapes)],
    }
    _raise(layout, faults, expected=len(known))
    return VitTranslation(
        layout=layout,
        architecture=architecture,
        sources=sources,
        shapes=ours,
        dropped=tuple(sorted(dropped)),
        absent=absent,
        unmasked=unmasked,
    )


def spec_of(translation: VitTranslation) -> ModelSpec:
    """Return the spec of a checkpoint in a foreign layout.

    The layout carries no name and no licence: an encoder of published sizes is taken to expect what the published
    one does (one that was trained on may not), any other is called unnamed.
    """
    layout, architecture = translation.layout, translation.architecture
    provenance = f"a checkpoint in the layout of {layout.name}; its names say no more about where it comes from"
    for published in layout.specs:
        if published.architecture == architecture:
            return replace(published, provenance=provenance)
    alike, multiple = layout.specs[0], architecture.size_multiple
    height, width = (-(-side // multiple) * multiple for side in alike.window_size[:2])
    return replace(
        alike,
        name=f"{layout.name.split()[0]}-unnamed",
        version="unknown",
        architecture=architecture,
        window_size=(height, width, 1),
        licence="unknown",
        provenance=provenance,
    )


def _infer_architecture(layout: VitLayout, shapes: Mapping[str, Shape]) -> VitArchitecture:
    """Read the sizes off the shapes; heads of 64 channels where the file has no periods to say otherwise."""

    def shape(ours: str) -> Shape:
        return shapes.get(layout.pieces(ours)[0].name, ())

    stem, expand = shape("patch_embedding.projection.weight"), shape("blocks.0.mlp.expand.weight")
    width = stem[0] if len(stem) == 4 else 0
    frequencies = shapes.get(layout.prefix + layout.periods, (16,))
    depth = 0
    while layout.pieces(f"blocks.{depth}.norm1.weight")[0].name in shapes and depth <= LARGEST["depth"]:
        depth += 1
    tokens = shape("registers")
    sizes = {
        "in_channels": stem[1] if width else 0,
        "patch_size": stem[2] if width else 0,
        "width": width,
        "depth": depth,
        "registers": tokens[-2] if len(tokens) > 1 else 0,
        "mlp_ratio": expand[0] // width if width and len(expand) == 2 else 0,
    }
    head_width = 4 * frequencies[0] if len(frequencies) == 1 else 0
    is_sound = head_width > 0 and width % head_width == 0 and all(sizes[name] <= LARGEST[name] for name in sizes)
    if not is_sound or min(size for name, size in sizes.items() if name != "registers") < 1:
        raise CheckpointError(
            expected=f"the stem, the blocks and the tokens of a vision transformer in the layout of {layout.name}",
            got=f"a stem of shape {list(stem)}, {depth} blocks, tokens of shape {list(tokens)}",
            do="take a whole checkpoint of a DINOv3 ViT with plain MLPs (S, B or L)",
        )
    return VitArchitecture(
        in_channels=sizes["in_channels"],
        patch_size=sizes["patch_size"],
        width=width,
        depth=depth,
        registers=sizes["registers"],
        mlp_ratio=sizes["mlp_ratio"],
        heads=width // head_width,
        qkv_bias=layout.pieces("blocks.0.attention.query_bias")[0].name in shapes,
        norm_eps=layout.norm_eps,
    )


def _unmasked(sources: Mapping[str, tuple[Piece, ...]], shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    """Return the biases of queries, keys and values in one tensor that have no mask beside them.

    Without it the keys' bias is in force, and our network has none.
    """
    biases = [pieces[0] for name, pieces in sources.items() if name.endswith("query_bias")]
    return tuple(one.name for one in biases if one.parts > 1 and f"{one.name}_mask" not in shapes)


def _fits(pieces: tuple[Piece, ...], wanted: Shape, shapes: Mapping[str, Shape]) -> bool:
    found = [shapes[piece.name] for piece in pieces if piece.name in shapes]
    if len(found) != len(pieces) or not pieces:
        return True  # said elsewhere
    if len(pieces) == 1 and pieces[0].parts == 1:
        return _without_ones(found[0]) == _without_ones(wanted)
    joined = sum(shape[0] // piece.parts for shape, piece in zip(found, pieces, strict=True) if shape)
    rows_divide = all(shape and shape[0] % piece.parts == 0 for shape, piece in zip(found, pieces, strict=True))
    alike = {(shape[0] // piece.parts, *shape[1:]) for shape, piece in zip(found, pieces, strict=True) if shape}
    return rows_divide and len(alike) == 1 and (joined, *found[0][1:]) == wanted


def _without_ones(shape: Shape) -> Shape:
    """Drop leading axes of length 1: tokens stand as (1, 1, d), (1, d) or (d)."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _raise(layout: VitLayout, faults: Mapping[str, list[str]], *, expected: int) -> None:
    said = [
        f"{len(names)} {what} ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
        for what, names in faults.items()
        if names
    ]
    if said:
        raise CheckpointError(
            expected=f"the {expected} tensors of a vision transformer as {layout.name} names them, and no others",
            got="; ".join(said),
            do="take a whole, unchanged checkpoint of that layout",
        )
