"""Cases that nobody scanned: phantoms, and label maps of training cases deformed and painted anew.

Both are made once on a model's grid and kept in the cache of prepared cases: from a seed, so that every process and
run that asks for the same finds the same. What was not looked for in a case is not looked for in its paintings.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.data.body_tissues import with_tissues
from vesalius.data.cache import Cache, key_of
from vesalius.data.case import Case
from vesalius.data.copies import voxel_hash
from vesalius.data.kept_case import keep_case, open_case
from vesalius.data.layers import merged
from vesalius.data.phantom import PhantomConfig, Region, make_phantom
from vesalius.data.prepare import carried_out
from vesalius.data.seeds import seed_beside
from vesalius.data.synthesis import SynthesisConfig, synthesise
from vesalius.errors import UnknownClassError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.mapping import UNKNOWN, LabelMapping, Meaning, class_of
from vesalius.labels.vista3d import STRUCTURES
from vesalius.labels.vocabulary import Vocabulary
from vesalius.shapes import LabelArray
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import image_window

SYNTHETIC = "synthetic"
"""The group of such cases."""
_FORMAT = 1
"""Grows when what is made changes."""
_REGIONS: tuple[Region, ...] = ("abdomen", "chest", "pelvis")
_BEYOND_MM = 30.0
"""So far a label map is taken to go on beyond its faces as it is at them: what a deformation may bring in."""
_EXTENT_MM = (440.0, 340.0, 340.0)
"""Of a phantom, along right, anterior and superior."""
_MOST_VOXELS = 60e6
"""Of a phantom: where a model's voxels are so small that it would have more, its field of view is smaller."""


@dataclass(frozen=True)
class _Phantom:
    """What one phantom follows from."""

    config: PhantomConfig
    spec: ModelSpec
    mapping: LabelMapping

    def facts(self) -> dict[str, Any]:
        mapping = {"classes": list(self.mapping.classes.items()), "left_out": sorted(self.mapping.left_out)}
        return {"phantom": _FORMAT, "config": asdict(self.config), **mapping, **_facts_of(self.spec)}

    def make(self) -> tuple[Volume, LabelArray]:
        volume, drawn = make_phantom(self.config)
        layers = tuple(self.mapping.apply(layer) for layer in (drawn.data, *drawn.overlaps.values()))
        structures = Vocabulary.of(self.spec.vocabulary).structures
        includes = {one.id: frozenset(one.includes) for one in structures if one.includes}
        labels = LabelMap(merged(layers, includes), drawn.grid, {})
        return volume.reoriented(self.spec.orientation), labels.reoriented(self.spec.orientation).data


@dataclass(frozen=True)
class _Painting:
    """What one painting follows from."""

    source: Case
    voxels: Mapping[str, str | None]
    spec: ModelSpec
    config: SynthesisConfig
    seed: tuple[int, int, int, int]

    def facts(self) -> dict[str, Any]:
        how = {"config": asdict(self.config), "seed": self.seed, "names": list(self.spec.vocabulary)}
        return {"painting": _FORMAT, **how, **self.voxels, **_facts_of(self.spec)}

    def make(self) -> tuple[Volume, LabelArray]:
        data, tissues = self.source.labels[:, :, :], dict[int, str]()
        names = {**self.spec.names, UNKNOWN: "unknown"}
        if self.source.image_hu is not None:
            image, is_ct = self.source.image_hu[:, :, :], self.spec.modality == "CT"
            data, tissues = with_tissues(data, image, taken=names, is_ct=is_ct)
        i, j, k = (ceil(_BEYOND_MM / side) for side in self.spec.spacing_mm)
        data = np.pad(data, [(i, i), (j, j), (k, k)], mode="edge")
        drawn = LabelMap(data, grid_of(data.shape, self.spec), names | tissues)
        drawn = drawn.reoriented("RAS")  # synthesis has bodies lie along the last axis
        volume, bent = synthesise(drawn, rng=np.random.default_rng(self.seed), config=self.config)
        volume, bent = volume.reoriented(self.spec.orientation), bent.reoriented(self.spec.orientation)
        box = Box((i, j, k), (data.shape[0] - i, data.shape[1] - j, data.shape[2] - k))
        ids, image_hu = bent.data[box.slices], volume.data[0][box.slices]
        if tissues:  # then every voxel had an id, and what has none lies beyond all that was known
            image_hu = np.where(ids == 0, image_hu.min(), image_hu)
        labels = np.where(np.isin(ids, list(tissues)), 0, ids)
        return Volume(image_hu[None], volume.grid.cropped(box), "CT"), labels


def phantom_cases(
    spec: ModelSpec,
    cache: Cache,
    *,
    count: int,
    seed: int = 0,
    workers: int = 1,
    on_case: Callable[[int], None] | None = None,
) -> tuple[Case, ...]:
    """Make phantoms, or find them made: chest, abdomen and pelvis in turn, every second one with tumours.

    Looked for are the classes that are drawn in any of them; what the model does not name is unknown.

    Args:
        spec: Says spacing, orientation and vocabulary.
        cache: Where prepared cases are kept.
        count: How many.
        seed: Of the first; the others follow.
        workers: Processes that make them at once.
        on_case: Told after each how many are done.

    Returns:
        The cases; none where the model sees no CT, or names nothing of what a phantom has.

    Raises:
        MissingExtraError: If Blosc2 is not installed.
        DiskError: If the cache cannot be written.
    """
    mapping = _phantom_mapping(spec)
    if spec.modality != "CT" or not mapping.classes:
        return ()
    made = [_Phantom(_phantom_config(spec, number, seed), spec, mapping) for number in range(count)]
    folders = _made(made, cache, workers, on_case)
    named = [f"phantom {number}" for number in range(count)]
    everything = mapping.annotated
    cases = [_opened(folder, name, everything) for folder, name in zip(folders, named, strict=True)]
    drawn = everything & {label for case in cases for label in case.drawn}
    if not drawn:
        return ()
    return tuple(_opened(folder, name, drawn) for folder, name in zip(folders, named, strict=True))


def painted_cases(
    cases: Sequence[Case],
    spec: ModelSpec,
    cache: Cache,
    *,
    count: int,
    seed: int = 0,
    config: SynthesisConfig | None = None,
    workers: int = 1,
    on_case: Callable[[int], None] | None = None,
) -> tuple[Case, ...]:
    """Deform and paint the label maps of cases, or find them painted; the cases in turn.

    Args:
        cases: Prepared for the spec; of use are those in which somebody looked for something and found it.
        spec: Says spacing, orientation and names, by which structures get the intensities of their tissues.
        cache: Where prepared cases are kept.
        count: How many paintings.
        seed: Of all of them.
        config: How far to stray; by default near CT for a model of CT, else any contrast.
        workers: Processes that paint at once.
        on_case: Told after each how many are done.

    Returns:
        The paintings; none of no such case.

    Raises:
        MissingExtraError: If Blosc2 is not installed.
        DiskError: If the cache cannot be written.
    """
    config = config or SynthesisConfig(contrasts="ct" if spec.modality == "CT" else "random")
    models = [case for case in cases if case.present]
    if not models:
        return ()
    sources = [(case, _voxels_of(case)) for case in models[:count]]
    chosen = [sources[number % len(sources)] for number in range(count)]
    made = [
        _Painting(case, voxels, spec, config, seed_beside(seed, "paintings", number=number))
        for number, (case, voxels) in enumerate(chosen)
    ]
    folders = _made(made, cache, workers, on_case)
    return tuple(
        _opened(folder, f"{one.source.name}, painting {number}", one.source.annotated)
        for number, (folder, one) in enumerate(zip(folders, made, strict=True))
    )


def grid_of(shape: tuple[int, ...], spec: ModelSpec) -> Grid:
    """Return a grid of some voxels as a spec sees them; its first voxel lies in the origin."""
    i, j, k = shape
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (code, side_mm) in enumerate(zip(spec.orientation, spec.spacing_mm, strict=True)):
        affine["RASLPI".index(code) % 3, axis] = side_mm if code in "RAS" else -side_mm
    return Grid((i, j, k), affine)


def _voxels_of(case: Case) -> dict[str, str | None]:
    """Return the hashes of what a painting is made from."""
    layers = {"labels": case.labels, "image": case.image_hu}
    return {name: None if layer is None else voxel_hash(layer[:, :, :]) for name, layer in layers.items()}


def _phantom_mapping(spec: ModelSpec) -> LabelMapping:
    """Return what the phantom's ids are in a vocabulary; ids that it does not name are left out."""
    vocabulary = Vocabulary.of(spec.vocabulary)
    meanings: dict[int, Meaning] = {}
    for structure in STRUCTURES:
        try:
            meanings[structure.id] = class_of(structure.name, vocabulary).id
        except UnknownClassError:
            meanings[structure.id] = None
    return LabelMapping.of(meanings, vocabulary)


def _phantom_config(spec: ModelSpec, number: int, seed: int) -> PhantomConfig:
    right, anterior, superior = grid_of((1, 1, 1), spec).reoriented("RAS").spacing_mm
    part = min(1.0, (_MOST_VOXELS * right * anterior * superior / prod(_EXTENT_MM)) ** (1 / 3))
    i, j, k = (ceil(mm * part / side) for mm, side in zip(_EXTENT_MM, (right, anterior, superior), strict=True))
    return PhantomConfig(
        shape=(i, j, k),
        spacing_mm=(right, anterior, superior),
        seed=seed + number,
        region=_REGIONS[number % len(_REGIONS)],
        contrast="random",
        tumours=number % 2 == 1,
    )


def _facts_of(spec: ModelSpec) -> dict[str, Any]:
    percentiles = spec.window_percentiles if spec.normalisation == "percentiles" else None
    return {"spacing_mm": spec.spacing_mm, "orientation": spec.orientation, "percentiles": percentiles}


def _made(
    made: Sequence[_Phantom | _Painting], cache: Cache, workers: int, on_case: Callable[[int], None] | None
) -> list[Path]:
    """Return the folder of each, made where it is not there."""
    folders: list[Path] = []
    found: Iterator[Path] = carried_out(partial(_ensured, cache=cache), made, workers)
    for folder in found:
        folders.append(folder)
        if on_case:
            on_case(len(folders))
    return folders


def _ensured(one: _Phantom | _Painting, *, cache: Cache) -> Path:
    return cache.ensure(key_of(one.facts()), partial(_write, one=one))


def _write(folder: Path, *, one: _Phantom | _Painting) -> None:
    volume, labels = one.make()
    window = image_window(volume.data[0], one.spec) if one.spec.normalisation == "percentiles" else None
    arrays = {"image": volume.data[0], "labels": labels.astype(np.uint8)}
    keep_case(folder, arrays, affine=volume.grid.affine, modality="CT", window=window)


def _opened(folder: Path, name: str, annotated: frozenset[int]) -> Case:
    return open_case(folder, name=name, group=SYNTHETIC, annotated=annotated)
