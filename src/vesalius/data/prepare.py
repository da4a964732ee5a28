"""Listed cases -> cases on a model's grid, each made once and kept in a cache that is read window by window.

What is kept depends on the files' hashes, the spec's orientation and spacing (slices to train on keep the rows and
columns of their scan, whatever the spacing), what the label ids mean, which classes include others, and what made
the images. Images stay in their own units: Hounsfield windows are applied when a window is drawn, so a change of
the window leaves the cache as it is.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Integer, Num

from vesalius.data.cache import Cache, key_of
from vesalius.data.case import Case
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.kept_case import keep_case, open_case
from vesalius.data.layers import merged
from vesalius.data.reading import on_grid_of, read_drawn, read_image
from vesalius.errors import NotValidatedError, UnknownClassError, UsageError
from vesalius.geometry.boxes import bounding_box, enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import axis_maps, is_orthogonal, resample_linear, resample_points
from vesalius.geometry.volume import LabelMap, Modality, Volume
from vesalius.hounsfield import LOWEST_HU
from vesalius.io.formats import read_labels
from vesalius.io.label_table import sidecar_of
from vesalius.labels.mapping import UNKNOWN, LabelMapping, Meaning, class_of
from vesalius.labels.vocabulary import Vocabulary
from vesalius.shapes import LabelArray
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import image_window, not_hounsfield
from vesalius.transforms.preprocess import Preprocessing, body_box, margin_box, model_grid

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_FORMAT = 3
"""Grows when what is kept, or how it is made, changes."""
_PSEUDO_FORMAT = 1
"""The same of pseudo labels."""


@dataclass(frozen=True)
class Preparation:
    """How the cases of one list become a model's.

    Args:
        spec: Says spacing, orientation and vocabulary.
        mapping: What the list's label ids are in it.
        modality: The list's, for images that do not say what made them.
        keeps_plane: Leave rows and columns of slices as many as they are, whatever the spec's spacing: a window is
            resampled when it is cut (``training.slice_cutting``).
    """

    spec: ModelSpec
    mapping: LabelMapping
    modality: Modality
    keeps_plane: bool = False

    @classmethod
    def of(cls, listed: DataList, spec: ModelSpec, *, keeps_plane: bool = False) -> Preparation:
        """Take what a list's label ids mean; where nobody drew anything, it need not say so.

        Raises:
            UsageError: If the list has drawn labels and does not say what its ids mean.
            UnknownClassError: If one of them means no single class.
        """
        vocabulary = Vocabulary.of(spec.vocabulary)
        is_read = bool(listed.meanings) or not listed.cases or any(case.is_labelled for case in listed.cases)
        mapping = listed.mapping(vocabulary) if is_read else LabelMapping.of({}, vocabulary, unknown=listed.unknown)
        return cls(spec, mapping, listed.modality, keeps_plane)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of what is kept, in the spec's orientation; 0 leaves the voxels of an axis where they are."""
        return (0.0, 0.0, self.spec.spacing_mm[2]) if self.keeps_plane else self.spec.spacing_mm

    @property
    def includes(self) -> dict[int, frozenset[int]]:
        """Class id -> ids of the classes whose voxels are its own, too."""
        structures = Vocabulary.of(self.spec.vocabulary).structures
        return {structure.id: frozenset(structure.includes) for structure in structures if structure.includes}

    def pseudo_mapping(self, labels: LabelMap) -> LabelMapping:
        """Return what the ids of a model's answer are: by the names in its file; without names, as they are.

        Structures that the vocabulary does not name become UNKNOWN, as what is left out of drawn labels does.
        """
        vocabulary = Vocabulary.of(self.spec.vocabulary)
        ids = {label for layer in _layers(labels) for label in np.unique(layer).tolist()} - {0, UNKNOWN}
        meanings: dict[int, Meaning] = {}
        for label in ids:
            name = labels.names.get(label, "")
            try:
                meanings[label] = class_of(label if name in ("", f"label {label}") else name, vocabulary).id
            except UnknownClassError:
                meanings[label] = None
        return LabelMapping.of(meanings, vocabulary, unknown=(UNKNOWN,))

    def facts(self, case: ListedCase, cache: Cache) -> dict[str, Any]:
        """Return everything that the prepared case depends on."""
        files = {"label": case.label, "pseudo_labels": case.pseudo_label, "supervoxels": case.supervoxels}
        files["pseudo_names"] = case.pseudo_label and sidecar_of(case.pseudo_label)
        return {
            "format": _FORMAT,
            "spacing_mm": self.spacing_mm,
            "orientation": self.spec.orientation,
            "modality": self.modality,
            "image": cache.sha256(case.image),
            **{name: cache.sha256(path) for name, path in files.items() if path is not None},
            "masks": {str(label): cache.sha256(path) for label, path in case.masks.items()},
            "classes": {str(a): b for a, b in self.mapping.classes.items()},
            "includes": {str(a): sorted(b) for a, b in self.includes.items()},
            "left_out": sorted(self.mapping.left_out),
            "unknown": sorted(self.mapping.unknown),
            **({"percentiles": self.spec.window_percentiles} if self.spec.normalisation == "percentiles" else {}),
            **({} if case.pseudo_label is None else {"pseudo": [_PSEUDO_FORMAT, self.spec.vocabulary]}),
        }


def prepare_list(
    listed: DataList,
    spec: ModelSpec,
    cache: Cache,
    *,
    cases: Sequence[ListedCase] | None = None,
    keeps_plane: bool = False,
    workers: int = 1,
    on_case: Callable[[int], None] | None = None,
) -> tuple[Case, ...]:
    """Prepare cases of a list, or find them prepared; of a killed run only the cases in hand are begun again.

    Args:
        listed: The list.
        spec: The model's; its vocabulary says what may be named.
        cache: Where prepared cases are kept; several runs and processes may share it.
        cases: Which; by default those for training from which something can be learnt (``is_learnt``).
        keeps_plane: ``Preparation.keeps_plane``.
        workers: Processes that prepare at once.
        on_case: Told after each case how many are done.

    Returns:
        The cases in order, their arrays on disk. ``group`` is the list's name.

    Raises:
        UsageError: If there is no such case, or a case is named that is none; before anything is prepared.
        UnknownClassError: If a label's meaning is no class of the vocabulary.
        InputError: A subclass that says what is wrong with a file.
        NotValidatedError: If a model that sees Hounsfield units is given an image of other numbers.
        MissingExtraError: If Blosc2 is not installed.
        DiskError: If the cache cannot be written.
    """
    vocabulary = Vocabulary.of(spec.vocabulary)
    preparation = Preparation.of(listed, spec, keeps_plane=keeps_plane)
    looked_for = partial(listed.annotated, mapping=preparation.mapping, vocabulary=vocabulary)
    named = listed.split("training") if cases is None else cases
    chosen = [case for case in named if is_learnt(case, looked_for(case))]
    if not chosen or (cases is not None and len(chosen) < len(cases)):
        raise _nothing_learnt(listed, [case.name for case in named if case not in chosen])
    work = partial(prepared_folder, preparation=preparation, cache=cache)
    folders: list[Path] = []
    for folder in carried_out(work, chosen, workers):
        folders.append(folder)
        if on_case:
            on_case(len(folders))
    return tuple(
        open_case(folder, name=case.name, group=listed.name, annotated=looked_for(case))
        for folder, case in zip(folders, chosen, strict=True)
    )


def learnt_cases(listed: DataList, spec: ModelSpec) -> tuple[ListedCase, ...]:
    """Return a list's cases for training from which something can be learnt.

    Args:
        listed: The list.
        spec: The model's; its vocabulary says what may be named.

    Raises:
        UnknownClassError: If a label's meaning is no class of the vocabulary.
    """
    mapping, vocabulary = Preparation.of(listed, spec).mapping, Vocabulary.of(spec.vocabulary)
    looked_for = partial(listed.annotated, mapping=mapping, vocabulary=vocabulary)
    return tuple(case for case in listed.split("training") if is_learnt(case, looked_for(case)))


def is_learnt(case: ListedCase, annotated: Set[int]) -> bool:
    """Say whether something can be learnt from a case: a class was looked for, or there is a model's answer."""
    return bool(annotated) or case.pseudo_label is not None


def _nothing_learnt(listed: DataList, names: Sequence[str]) -> UsageError:
    return UsageError(
        expected=f"cases of {listed.path.name} in which some class of the model was looked for",
        got=f"nothing that was looked for in {', '.join(names[:4])}" if names else "no case for training",
        do="give them a label that maps to a class, or name others; see `vesalius dataset check`",
    )


def carried_out(work: Callable[[T], Path], cases: Sequence[T], workers: int) -> Iterator[Path]:
    """Yield what the work gives for each case, in order; by so many processes at once."""
    if workers == 1:
        yield from map(work, cases)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, cases)


def prepared_folder(case: ListedCase, *, preparation: Preparation, cache: Cache) -> Path:
    """Return the folder of a prepared case, made if it is not there."""
    make = partial(_write, case=case, preparation=preparation)
    return cache.ensure(key_of(preparation.facts(case, cache)), make)


def _write(folder: Path, *, case: ListedCase, preparation: Preparation) -> None:
    """Fill the folder of one case."""
    image = read_image(case, preparation.modality)
    _refuse_other_units(image, case, preparation.spec)
    drawn = on_grid_of(image, read_drawn(case), what=f"labels of {case.name}") if case.is_labelled else None
    maps: dict[str, LabelMap] = {} if drawn is None else {"labels": drawn}
    for layer, path in (("pseudo_labels", case.pseudo_label), ("supervoxels", case.supervoxels)):
        if path is not None:
            maps[layer] = on_grid_of(image, read_labels(path))
    kept, target = _kept(image, drawn, preparation)
    arrays = {"image": _image_on(kept, target)}
    for layer, labels in maps.items():
        arrays[layer] = _labels_on(_one_map(layer, labels, preparation), image.grid, target)
    arrays.setdefault("labels", np.zeros(target.shape, np.uint8))
    is_own = preparation.spec.normalisation == "percentiles"
    window = image_window(image.data[0], preparation.spec) if is_own else None
    is_flat = preparation.keeps_plane
    keep_case(folder, arrays, affine=target.affine, modality=image.modality, window=window, is_flat=is_flat)


def _refuse_other_units(image: Volume, case: ListedCase, spec: ModelSpec) -> None:
    """Refuse an image whose numbers a window of Hounsfield units would squeeze into a few, or into one.

    What somebody says is CT may have lost its negative values, with the skull or by clipping: that is a warning.
    """
    if spec.modality == "MR" or spec.normalisation == "percentiles":
        return
    reason = "an MR image" if image.modality == "MR" else not_hounsfield(image.data[0])
    if reason and image.modality == "CT" and not not_hounsfield(image.data[0], may_lack_negatives=True):
        _logger.warning("%s: %s; taken for Hounsfield units, as it is said to be CT", case.name, reason)
    elif reason:
        raise NotValidatedError(
            expected=f"Hounsfield units, which {spec.name} sees, in {case.name}",
            got=reason,
            do="export it again as HU; if it is no CT, say so in the list's `modality`; "
            "see `vesalius dataset check`",
        )


def _one_map(name: str, labels: LabelMap, preparation: Preparation) -> LabelArray:
    """Return what one file has, or several masks have: class ids, but of supervoxels their numbers."""
    if name == "supervoxels":
        return labels.data
    mapping = preparation.mapping if name == "labels" else preparation.pseudo_mapping(labels)
    return merged(tuple(mapping.apply(layer) for layer in _layers(labels)), preparation.includes)


def _layers(labels: LabelMap) -> tuple[LabelArray, ...]:
    return (labels.data, *labels.overlaps.values())


def _kept(image: Volume, drawn: LabelMap | None, preparation: Preparation) -> tuple[Volume, Grid]:
    """Return the part of an image that shows the body and what was drawn, and the grid that is kept of it.

    The slices of a tilted gantry are kept whole.
    """
    spec, spacing_mm = preparation.spec, preparation.spacing_mm
    if not is_orthogonal(image.grid):
        return image, image.grid.upright().reoriented(spec.orientation).respaced(spacing_mm)
    layers = () if drawn is None else _layers(drawn)
    shown = (body_box(image), *(bounding_box(layer > 0) for layer in layers))
    box = enclosing_box([box for box in shown if box is not None])
    part, _ = model_grid(image, spec, Preprocessing(), margin_box(box, image.grid) if box else None)
    return part, part.grid.respaced(spacing_mm)


def _image_on(image: Volume, target: Grid) -> Num[np.ndarray, "i j k"]:
    """Return an image on a grid: int16 for CT and for whole numbers that fit, else float32."""
    data = image.data[0]
    if is_orthogonal(image.grid):
        fine = resample_linear(data, image.grid, target).numpy()
    else:
        fine = resample_points(data, image.grid, target, outside=float(data.min()))
    if image.modality == "CT":
        return np.asarray(np.clip(np.round(fine), LOWEST_HU, np.iinfo(np.int16).max), dtype=np.int16)
    is_whole = np.issubdtype(data.dtype, np.integer) and max(-int(data.min()), int(data.max())) < 2**15
    return np.round(fine).astype(np.int16) if is_whole else fine


def _labels_on(data: LabelArray, source: Grid, target: Grid) -> Integer[np.ndarray, "x y z"]:
    """Return labels on a grid: those of the nearest voxels."""
    if not is_orthogonal(source):
        return resample_points(data, source, target, nearest=True)
    moved = LabelMap(data, source, {}).reoriented(target.axis_codes)
    nearest = [axis.nearest().numpy() for axis in axis_maps(moved.grid, target)]
    return np.ascontiguousarray(moved.data[np.ix_(*nearest)])
