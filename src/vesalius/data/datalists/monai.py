"""MONAI and Medical Segmentation Decathlon lists: one JSON object with ``training``, ``validation`` and ``test``.

An entry is ``{"image", "label"}``, with ``fold``, ``patient``, ``pseudo_label``, ``supervoxels``, ``classes`` and
``name`` where they are wanted, or with ``masks`` ({"1": "liver.nii.gz"}) in place of ``label``. VISTA3D's own
lists call two of these ``pseudo_label_file`` and ``label_sv``; a ``pseudo_label_reliability`` of 0 takes the first
back. ``patient_id``, ``subject`` and ``subject_id`` are read as ``patient``; without any, BIDS names say it. What
label ids mean is in ``label_mapping`` ({"1": "liver"}, or pairs of ids [[1, 1], [2, 26]]), else in ``labels``, as
the decathlon has it; ``unknown`` are ids of voxels that nobody judged.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesalius.data.datalists.paths import Root, name_of, stem_of, subject_of
from vesalius.data.datalists.record import DataList, ListedCase, Split
from vesalius.errors import FileFormatError
from vesalius.geometry.volume import Modality
from vesalius.labels.mapping import Meaning

_SPLITS: Mapping[str, Split] = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_PSEUDO = ("pseudo_label", "pseudo_label_file")
_PATIENT = ("patient", "patient_id", "subject", "subject_id")
_SUPERVOXELS = ("supervoxels", "label_sv")
_LARGEST_ID = 2**16 - 1
"""Masks are read into one label map, whose ids have two bytes."""


def recognises(content: Mapping[str, Any]) -> bool:
    """Say whether a JSON object is such a list."""
    return any(isinstance(content.get(key), list) for key in _SPLITS)


def read(path: Path, content: Mapping[str, Any], root: Root) -> DataList:
    """Read a list.

    Args:
        path: The file, for its name.
        content: The object in it.
        root: Where its paths begin.

    Raises:
        FileFormatError: If an entry, a label or a mapping is not what it should be.
        UnsafeFileError: If a path leads out of the root.
    """
    cases = [
        case
        for key, split in _SPLITS.items()
        for number, entry in enumerate(_entries(path, content.get(key, [])))
        for case in _cases(entry, split, root, f"{path.name}, entry {number} of {key}")
    ]
    default = name_of(path.parent) if path.stem in ("dataset", "datalist") else path.stem
    return DataList(
        name=str(content.get("name") or default),
        path=path,
        format="monai",
        cases=tuple(_with_distinct_names(cases)),
        meanings=meanings_of(content, path),
        unknown=_unknown(content.get("unknown", []), path),
        modality=modality_of(content.get("modality", {})),
    )


def meanings_of(content: Mapping[str, Any], path: Path) -> dict[int, Meaning]:
    """Return what label ids mean: ``label_mapping`` where it is given, else ``labels``; without the background.

    Raises:
        FileFormatError: If neither form is understood.
    """
    stated = content.get("label_mapping", content.get("labels", {}))
    try:
        pairs = stated.items() if isinstance(stated, dict) else [(a, b) for a, b in stated]
        meanings: dict[int, Meaning] = {int(label): meaning for label, meaning in pairs}
    except (TypeError, ValueError):
        raise _bad(path, f"labels {str(stated)[:80]}") from None
    if not all(b is None or (isinstance(b, str | int) and not isinstance(b, bool)) for b in meanings.values()):
        raise _bad(path, f"labels {str(stated)[:80]}")
    return {label: meaning for label, meaning in meanings.items() if label != 0}


def _unknown(stated: object, path: Path) -> frozenset[int]:
    if not isinstance(stated, list) or not all(isinstance(label, int) for label in stated):
        raise _bad(path, f"unknown {str(stated)[:80]}")
    return frozenset(stated)


def modality_of(stated: object) -> Modality:
    """Return CT or MR where the words of a list say so, else unknown."""
    words = stated.values() if isinstance(stated, dict) else stated if isinstance(stated, list) else [stated]
    text = " ".join(map(str, words)).upper()
    if "CT" in text.split() or text.startswith("CT"):
        return "CT"
    return "MR" if any(word.startswith(("MR", "T1", "T2", "FLAIR")) for word in text.split()) else "unknown"


def _entries(path: Path, part: object) -> list[object]:
    if not isinstance(part, list):
        raise _bad(path, f"{type(part).__name__} where a list of entries should be")
    return part


def _cases(entry: object, split: Split, root: Root, where: str) -> Iterator[ListedCase]:
    fields = entry if isinstance(entry, dict) else {"image": entry}
    image = _file(fields, ("image",), root, where)
    if image is None:
        raise _bad_entry(where, f"no `image` in {str(entry)[:80]}")
    classes = fields.get("classes")
    if classes is not None and not (
        isinstance(classes, list) and all(isinstance(word, str | int) for word in classes)
    ):
        raise _bad_entry(where, f"classes {str(classes)[:80]}")
    fold = fields.get("fold")
    if fold is not None and not isinstance(fold, int):
        raise _bad_entry(where, f"fold {fold!r}")
    patient = next((fields[key] for key in _PATIENT if fields.get(key) is not None), None)
    if isinstance(patient, bool) or not isinstance(patient, str | int | None):
        raise _bad_entry(where, f"a patient of type {type(patient).__name__}")
    is_reliable = fields.get("pseudo_label_reliability", 1) not in (0, False)
    yield ListedCase(
        name=str(fields.get("name") or stem_of(image)),
        split=split,
        image=image,
        label=_file(fields, ("label",), root, where),
        masks=_masks(fields.get("masks", {}), root, where),
        pseudo_label=_file(fields, _PSEUDO, root, where) if is_reliable else None,
        supervoxels=_file(fields, _SUPERVOXELS, root, where),
        classes=None if classes is None else tuple(classes),
        fold=fold,
        patient=subject_of(image) if patient is None else str(patient),
    )


def _masks(stated: object, root: Root, where: str) -> dict[int, Path]:
    """Return label id -> file of one structure."""
    if not isinstance(stated, dict) or not all(isinstance(file, str) for file in stated.values()):
        raise _bad_entry(where, f"masks {str(stated)[:80]}")
    try:
        ids = [int(label) for label in stated]
    except ValueError:
        raise _bad_entry(where, f"masks {str(stated)[:80]}") from None
    if not all(1 <= label <= _LARGEST_ID for label in ids):
        raise _bad_entry(where, f"masks of {ids}, where ids from 1 to {_LARGEST_ID} can be")
    return {label: root.resolve(file) for label, file in zip(ids, stated.values(), strict=True)}


def _file(fields: Mapping[str, Any], keys: tuple[str, ...], root: Root, where: str) -> Path | None:
    written = next((fields[key] for key in keys if fields.get(key)), None)
    if isinstance(written, list) and len(written) == 1:
        written = written[0]
    if written is None:
        return None
    if not isinstance(written, str):
        raise _bad_entry(where, f"{keys[0]} {str(written)[:80]}, which is not one path")
    return root.resolve(written)


def _with_distinct_names(cases: list[ListedCase]) -> Iterator[ListedCase]:
    """Put the folder's name before names that several images share (``case1/ct.nii.gz``, ``case2/ct.nii.gz``)."""
    names = Counter(case.name for case in cases)
    for case in cases:
        is_shared = names[case.name] > 1 and case.name == stem_of(case.image)
        yield replace(case, name=f"{case.image.parent.name}_{case.name}") if is_shared else case


def _bad_entry(where: str, got: str) -> FileFormatError:
    return FileFormatError(
        expected='entries such as {"image": "a.nii.gz", "label": "b.nii.gz", "classes": ["liver"]}',
        got=f"{where}: {got}",
        do="correct the entry",
    )


def _bad(path: Path, got: str) -> FileFormatError:
    return FileFormatError(
        expected='{"label_mapping": {"1": "liver"}, "training": [{"image": "...", "label": "..."}], ...}',
        got=f"{path.name}: {got}",
        do="correct the list",
    )
