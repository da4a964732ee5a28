"""Canvas: the labels a user sees, kept equal to what a state says, box by box.

Beside the base labels, which are never copied nor written, one array per layer is held. A state is shown by
composing anew the boxes in which it differs from the state shown before.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.errors import InputError
from vesalius.geometry.boxes import Box, Triple, bounding_box, enclosing_box, shared_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import label_regions
from vesalius.geometry.packed_mask import PackedMask
from vesalius.geometry.volume import LabelMap
from vesalius.inference.automatic import BASE_LAYER
from vesalius.inference.compose import LabelChange, compose
from vesalius.interactive.history import Frozen, Patch, SessionLabel, State
from vesalius.prompts.targets import HIGHEST_ID
from vesalius.shapes import LabelArray, MaskArray

_QUICKLY = 1
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Stroke:
    """Labels that change in one layer.

    Args:
        layer: Which.
        box: Where.
        labels: Of the box, afterwards.
    """

    layer: str
    box: Box
    labels: LabelArray


@dataclass(frozen=True, eq=False)
class Drawing:
    """What changes when another state is shown."""

    strokes: tuple[Stroke, ...]

    @property
    def box(self) -> Box | None:
        """The smallest box around every voxel that changes, in any layer; None where none does."""
        return enclosing_box([stroke.box for stroke in self.strokes])


class Canvas:
    """The labels of one session.

    Args:
        grid: Of the volume.
        labels: To begin with; None is background everywhere.

    Raises:
        InputError: If they need more than 16 bits.
    """

    def __init__(self, grid: Grid, labels: LabelMap | None) -> None:
        if labels is not None:
            _check_ids(labels)
        self.grid = grid
        self.source = labels.source if labels else None
        self._base: dict[str, LabelArray] = {BASE_LAYER: labels.data, **labels.overlaps} if labels else {}
        self._shown = {layer: np.array(array, dtype=_kind([array])) for layer, array in self._base.items()}
        self._regions = {layer: label_regions(array) for layer, array in self._shown.items()}
        self._base_masks: dict[int, tuple[Mapping[tuple[str, Triple], Patch], PackedMask]] = {}

    @property
    def layers(self) -> dict[int, str]:
        """The layer in which the base has each label."""
        return {label: layer for layer, found in reversed(self._regions.items()) for label in found}

    def base_mask(self, entry: SessionLabel, state: State) -> PackedMask:
        """Return a structure's mask before any prompt that is not accepted yet; what is shown plays no part."""
        patches, known = self._base_masks.get(entry.label, (None, PackedMask()))
        if patches is state.patches:
            return known
        reach = self._base_reach(entry, state)
        mask = PackedMask.of(self._base_labels(entry.layer, reach, state) == entry.label, reach.start)
        self._base_masks[entry.label] = state.patches, mask
        return mask

    def frozen(self, entry: SessionLabel, state: State) -> Frozen:
        """Return a structure as it is shown, to be kept so; ``state`` is the one that is shown."""
        result = state.results.get(entry.label)
        parts = [self._base_reach(entry, state), *([result.change.box] if result else [])]
        reach = enclosing_box(parts) or PackedMask().box
        return Frozen(self._shown_mask(entry, reach), reach)

    def folded(self, state: State) -> dict[tuple[str, Triple], Patch]:
        """Return the patches that make what is shown the base; ``state`` is the one that is shown."""
        patches = dict(state.patches)
        edited = (home for part, home in _parts(state).items() if not isinstance(part, Patch))
        for layer, boxes in _boxes(edited).items():
            for block in dict.fromkeys(block for box in boxes for block in _blocks(box, self.grid.shape)):
                labels = self._layer(layer)[block.slices].astype(np.uint16)
                held = frozenset(np.flatnonzero(np.bincount(labels.ravel())).tolist())
                packed = zlib.compress(labels.tobytes(), _QUICKLY)
                patches[layer, block.start] = Patch(layer, block, held, packed)
        return patches

    def draw(self, before: State, after: State) -> Drawing:
        """Return what is to change so that a state is shown; nothing that is seen changes.

        Args:
            before: The one that is shown.
            after: The one to be shown.
        """
        self._make_room(after)
        old, new = _parts(before), _parts(after)
        stale = _boxes(home for part, home in (old | new).items() if (part in old) != (part in new))
        strokes = []
        for layer, boxes in stale.items():
            changes = [part for part in _ranked(after) if after.labels[part.label].layer == layer]
            locked = {
                label: frozen.mask for label, frozen in after.locked.items() if after.labels[label].layer == layer
            }
            for box in boxes:
                labels = compose(self._base_labels(layer, box, after), box, changes, locked)
                shown = self._layer(layer)[box.slices]
                differs = bounding_box(labels != shown)
                if differs is not None:
                    strokes.append(Stroke(layer, differs.moved(box.start), labels[differs.slices].copy()))
        return Drawing(tuple(strokes))

    def put(self, drawing: Drawing) -> None:
        """Show what was drawn; what was shown in part only may be put again."""
        for stroke in drawing.strokes:
            self._layer(stroke.layer)[stroke.box.slices] = stroke.labels

    def mask(self, entry: SessionLabel) -> MaskArray:
        """Return the voxels of one structure."""
        return np.asarray(self._layer(entry.layer) == entry.label)

    def with_drawing(self, drawing: Drawing, state: State) -> dict[str, LabelArray]:
        """Return the labels of a drawing's box as they are when it is put, layer by layer; none without a box."""
        if drawing.box is None:
            return {}
        found = {layer: self._layer(layer)[drawing.box.slices].copy() for layer in self._layers_of(state)}
        for stroke in drawing.strokes:
            found[stroke.layer][stroke.box.relative_to(drawing.box.start).slices] = stroke.labels
        return found

    def label_map(self, state: State) -> LabelMap:
        """Return a copy of the labels; ``state`` is the one that is shown."""
        layers = {layer: self._layer(layer).copy(order="K") for layer in self._layers_of(state)}
        names = {entry.label: entry.name for entry in state.labels.values()}
        kind = _kind(self._base.values(), highest=max(names, default=0))  # whatever was shown before
        layers = {layer: labels.astype(kind, copy=False) for layer, labels in layers.items()}
        return LabelMap(layers.pop(BASE_LAYER), self.grid, names, layers, self.source)

    def _layers_of(self, state: State) -> list[str]:
        return list(dict.fromkeys([BASE_LAYER, *self._base, *(entry.layer for entry in state.labels.values())]))

    def _layer(self, layer: str) -> LabelArray:
        if layer not in self._shown:
            self._shown[layer] = np.zeros(self.grid.shape, dtype=np.uint8, order="F")
        return self._shown[layer]

    def _make_room(self, state: State) -> None:
        """Take wider integers where a label needs them."""
        highest: dict[str, int] = {}
        for entry in state.labels.values():
            highest[entry.layer] = max(entry.label, highest.get(entry.layer, 0))
        for layer, label in highest.items():
            if label > np.iinfo(self._layer(layer).dtype).max:  # a layer that is new is begun here
                self._shown[layer] = self._layer(layer).astype(np.uint16)

    def _shown_mask(self, entry: SessionLabel, box: Box) -> PackedMask:
        return PackedMask.of(self._layer(entry.layer)[box.slices] == entry.label, box.start)

    def _base_reach(self, entry: SessionLabel, state: State) -> Box:
        region = self._regions.get(entry.layer, {}).get(entry.label)
        boxes = [p.box for p in state.patches.values() if p.layer == entry.layer and entry.label in p.labels]
        return enclosing_box([*boxes, *([region.box] if region else [])]) or PackedMask().box

    def _base_labels(self, layer: str, box: Box, state: State) -> LabelArray:
        """Return the labels of a box before any prompt that is not accepted yet; a copy."""
        base = self._base.get(layer)
        kind = self._shown[layer].dtype if layer in self._shown else np.dtype(np.uint8)
        labels = np.zeros(box.shape, kind) if base is None else base[box.slices].astype(kind)
        for block in _blocks(box, self.grid.shape) if state.patches else ():
            patch, shared = state.patches.get((layer, block.start)), shared_box(block, box)
            if patch is not None and shared is not None:
                accepted = np.frombuffer(zlib.decompress(patch.packed), np.uint16).reshape(block.shape)
                part = accepted[shared.relative_to(block.start).slices]
                labels[shared.relative_to(box.start).slices] = part
        return np.asarray(labels)


def box_sha256(box: Box, layers: Mapping[str, LabelArray]) -> str:
    """Hash the labels of a box, whatever integers they are kept in."""
    digest = hashlib.sha256(repr((box.start, box.stop)).encode())
    for layer, labels in sorted(layers.items()):
        digest.update(f"{layer}\0".encode() + labels.astype("<u2").tobytes())
    return digest.hexdigest()


def _check_ids(labels: LabelMap) -> None:
    wide = [array for array in (labels.data, *labels.overlaps.values()) if array.dtype not in (np.uint8, np.uint16)]
    ids = [*labels.names, *(int(end) for array in wide for end in (array.min(), array.max()))]
    lowest, highest = min(ids, default=0), max(ids, default=0)
    if lowest < 0 or highest > HIGHEST_ID:
        raise InputError(
            expected=f"a label map with ids from 0 to {HIGHEST_ID}",
            got=f"one with label {highest if highest > HIGHEST_ID else lowest}",
            do="give that structure another id first",
        )


def _kind(arrays: Iterable[LabelArray], *, highest: int = 0) -> type[np.uint8 | np.uint16]:
    """Return the integers that hold some labels, and one more."""
    return np.uint8 if highest <= 255 and all(array.dtype == np.uint8 for array in arrays) else np.uint16


def _ranked(state: State) -> list[LabelChange]:
    """Return the changes in the order in which they are applied."""
    results = sorted(state.results.items(), key=lambda item: (item[1].rank, item[0]))
    return [result.change for _, result in results]


def _parts(state: State) -> dict[object, tuple[str, Box]]:
    """Return what decides the labels, each with its layer and the box it can change: equal parts, equal labels."""
    parts: dict[object, tuple[str, Box]] = {}
    for label, result in state.results.items():
        parts[result.change, result.rank] = (state.labels[label].layer, result.change.box)
    for label, frozen in state.locked.items():
        box = enclosing_box([frozen.reach, frozen.mask.box])
        parts[frozen] = (state.labels[label].layer, box or frozen.reach)
    for patch in state.patches.values():
        parts[patch] = (patch.layer, patch.box)
    return parts


def _blocks(box: Box, shape: Triple) -> Iterator[Box]:
    """Yield the blocks of a lattice over the volume that a box touches."""
    ends = zip(box.start, box.stop, strict=True)
    for i, j, k in itertools.product(*(range(a - a % _BLOCK, b, _BLOCK) for a, b in ends)):
        yield Box((i, j, k), (i + _BLOCK, j + _BLOCK, k + _BLOCK)).clipped(shape)


def _boxes(homes: Iterable[tuple[str, Box]]) -> dict[str, list[Box]]:
    """Return the boxes of each layer: as they are, or the one around all of them where that is less to do."""
    boxes: dict[str, list[Box]] = {}
    for layer, box in homes:
        boxes.setdefault(layer, []).extend([] if box.is_empty else [box])
    return {layer: _thrifty(of_layer) for layer, of_layer in boxes.items()}


def _thrifty(boxes: list[Box]) -> list[Box]:
    around = enclosing_box(boxes)
    if around is None or math.prod(around.shape) > sum(math.prod(box.shape) for box in boxes):
        return boxes
    return [around]
