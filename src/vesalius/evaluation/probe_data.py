"""What probes learn from and are judged on: cases of a list on an encoder's grid, or a file of small images."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy.lib.npyio import NpzFile
from torch import Tensor

from vesalius.data.cache import Cache
from vesalius.data.case import Case
from vesalius.data.datalists.record import DataList, Split
from vesalius.data.prepare import prepare_list
from vesalius.errors import FileFormatError, UsageError
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec

Labelled = tuple[Float[Tensor, "b h w"], Integer[Tensor, " b"]]
"""Images, and the numbers of their classes."""

_SPLITS: Mapping[Split, tuple[str, int]] = {"training": ("train", 0), "validation": ("val", 1), "test": ("test", 2)}
"""What each part is called in the names of a file's arrays, and its number in an array of splits."""
_MOST_BYTES = 32 << 30
"""Of a file of images when unpacked: MedMNIST's largest has 16 GB, and a file of a few megabytes could have any."""


@dataclass(frozen=True, eq=False)
class ProbeCases:
    """Cases on an encoder's grid.

    Args:
        classes: Class id -> name, of structures that were looked for in all of them.
        left_out: Names of structures that were not looked for in every case; to a probe they are background.
        learnt: To learn from.
        judged: To be judged on.
    """

    classes: Mapping[int, str]
    left_out: tuple[str, ...]
    learnt: tuple[Case, ...]
    judged: tuple[Case, ...]


@dataclass(frozen=True, eq=False)
class ProbeImages:
    """Small images with a class each; their values run from 0 to 255.

    Args:
        classes: Their names.
        learnt: To learn from.
        judged: To be judged on.
    """

    classes: tuple[str, ...]
    learnt: Labelled
    judged: tuple[Float[Tensor, "n h w"], Integer[Tensor, " n"]]


def as_hounsfield(images: Float[Tensor, "b h w"], spec: ModelSpec) -> Float[Tensor, "b h w"]:
    """Return images with 0 to 255 spread over the Hounsfield window of a model."""
    low, high = spec.window_hu
    return images * ((high - low) / 255) + low


def read_probe_cases(
    listed: DataList,
    spec: ModelSpec,
    cache: Cache,
    *,
    split: Split = "validation",
    most: int | None = None,
) -> ProbeCases:
    """Prepare the labelled cases of a list for an encoder.

    Args:
        listed: The list; its structures are called what it calls them.
        spec: The encoder's: spacing, orientation, Hounsfield window.
        cache: Where prepared cases are kept.
        split: What to judge on; what to learn from is ``training``.
        most: Learn from so many of the first cases at most.

    Raises:
        UsageError: If there are no such cases, they share no structure, or a patient is in two of the splits.
        InputError: A subclass that says what is wrong with a file.
    """
    if split == "training":
        raise UsageError(expected="other cases than those that are learnt from", got=split, do="name another split")
    pairs = listed.require_whole_patients().own_classes()
    vocabulary = Vocabulary.of(pairs)
    mapping = listed.mapping(vocabulary)
    learnt, judged = ([case for case in listed.split(part) if case.is_labelled] for part in ("training", split))
    learnt = learnt[:most]
    looked_for = [listed.annotated(case, mapping, vocabulary) for case in (*learnt, *judged)]
    shared = frozenset.intersection(*looked_for) if learnt and judged else frozenset()
    if not shared:
        raise UsageError(
            expected=f"labelled cases for training and {split} in {listed.path.name} that share a structure",
            got=f"{len(learnt)} and {len(judged)} cases, structures that all of them have: {sorted(shared)}",
            do="add such cases, say under `classes` what was looked for, or name another split",
        )
    own = replace(spec, vocabulary=pairs, everything=(), single_piece=(), dice={}, confidence={})
    first, second = (prepare_list(listed, own, cache, cases=part) for part in (learnt, judged))
    return ProbeCases(
        {label: name for label, name in pairs if label in shared},
        tuple(name for label, name in pairs if label not in shared),
        first,
        second,
    )


def read_probe_images(path: Path, *, split: Split = "validation", most: int | None = None) -> ProbeImages:
    """Read a ``.npz`` of small images: ``images``, ``labels``, ``split`` (0, 1, 2), ``classes``; or MedMNIST's.

    Args:
        path: The file.
        split: What to judge on; what to learn from is the first part.
        most: Learn from so many of the first images at most.

    Raises:
        FileFormatError: If it is not such a file, or its arrays do not fit one another.
        UsageError: If one of the parts is empty.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = _read_arrays(file, split)
        learnt, judged = (_part(arrays, part) for part in ("training", split))
        names = _class_names(arrays, torch.cat([learnt[1], judged[1]]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(
            expected=f"images, labels and split, or MedMNIST's arrays, in {path}",
            got=str(error).splitlines()[0],
            do="save such a file with numpy.savez; images are (n, h, w) or (n, h, w, 3), 0 to 255",
        ) from None
    if not len(learnt[0]) or not len(judged[0]) or split == "training":
        raise UsageError(
            expected=f"images for training and for {split} in {path.name}, not the same",
            got=f"{len(learnt[0])} and {len(judged[0])}",
            do="name another split",
        )
    return ProbeImages(names, (learnt[0][:most], learnt[1][:most]), judged)


def _read_arrays(file: NpzFile, split: Split) -> dict[str, np.ndarray]:
    """Read the arrays that are asked for; what they take when unpacked is known before any of them is."""
    if "images" in file:
        wanted: tuple[str, ...] = ("images", "labels", "split", "classes")
    else:
        words = (_SPLITS["training"][0], _SPLITS[split][0])
        wanted = (*(f"{word}_{what}" for word in words for what in ("images", "labels")), "classes")
    assert file.zip is not None  # it is open
    sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in file.zip.infolist()}
    total = sum(sizes.get(name, 0) for name in wanted)
    if total > _MOST_BYTES:
        raise ValueError(f"arrays of {total:,} bytes when unpacked, where at most {_MOST_BYTES:,} are read")
    return {name: file[name] for name in wanted if name in file}


def _part(arrays: Mapping[str, np.ndarray], split: Split) -> Labelled:
    word, number = _SPLITS[split]
    if "images" in arrays:
        lengths = {name: len(np.atleast_1d(arrays[name])) for name in ("images", "labels", "split")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays of lengths {lengths}")
        chosen = arrays["split"].reshape(-1) == number
        images, labels = arrays["images"][chosen], arrays["labels"][chosen]
    else:
        images, labels = arrays[f"{word}_images"], arrays[f"{word}_labels"]
    pictures = torch.from_numpy(images.astype(np.float32))
    if pictures.ndim == 4:
        pictures = pictures.mean(dim=3)
    if pictures.ndim != 3 or len(labels) != len(pictures):
        raise ValueError(f"images of shape {images.shape} and labels of shape {labels.shape}")
    if labels.dtype.kind not in "biu":
        raise ValueError(f"labels of type {labels.dtype}, which are no integers")
    return pictures, torch.from_numpy(labels.reshape(len(labels)).astype(np.int64))


def _class_names(arrays: Mapping[str, np.ndarray], labels: Integer[Tensor, " b"]) -> tuple[str, ...]:
    """Return what the classes are called: as the file says, or by their numbers."""
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
    names = tuple(str(name) for name in arrays.get("classes", np.arange(high + 1)))
    if low < 0 or high >= len(names):
        raise ValueError(f"labels from {low} to {high}, and {len(names)} classes")
    return names
