"""TotalSegmentator's data sets: a folder per scan, ``ct.nii.gz`` or ``mri.nii.gz`` and one mask per structure.

``meta.csv`` (semicolons; columns ``image_id`` and ``split``) says what each scan is for. A mask that is not there
was not drawn for that scan; an empty one says that the structure is absent.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from vesalius.data.datalists.paths import Root, is_image, name_of, stem_of
from vesalius.data.datalists.record import DataList, ListedCase, Split
from vesalius.errors import FileFormatError
from vesalius.geometry.volume import Modality

_IMAGES: tuple[tuple[str, Modality], ...] = (("ct.nii.gz", "CT"), ("mri.nii.gz", "MR"))
_MASKS = "segmentations"
_SPLITS: Mapping[str, Split] = {"train": "training", "val": "validation", "test": "test"}


def recognises(folder: Path) -> bool:
    """Say whether a folder holds scans with their masks in ``segmentations``."""
    return any((child / _MASKS).is_dir() for child in folder.iterdir() if child.is_dir())


def read(folder: Path, root: Root) -> DataList:
    """Read a data set; label ids are given to the structures by name, in order.

    Raises:
        FileFormatError: If a scan has neither image, or ``meta.csv`` is not what it should be.
        UnsafeFileError: If a link leads out of the root.
    """
    scans = sorted(child for child in folder.iterdir() if (child / _MASKS).is_dir())
    masks = {scan: sorted(file for file in (scan / _MASKS).iterdir() if is_image(file)) for scan in scans}
    names = sorted({stem_of(file) for files in masks.values() for file in files})
    ids = {name: number for number, name in enumerate(names, start=1)}
    splits, images = _splits(folder / "meta.csv"), {scan: _image(scan) for scan in scans}
    cases = tuple(
        ListedCase(
            name=scan.name,
            split=splits.get(scan.name, "training"),
            image=root.found(images[scan][0]),
            masks={ids[stem_of(file)]: root.found(file) for file in masks[scan]},
        )
        for scan in scans
    )
    kinds = {modality for _, modality in images.values()}
    return DataList(
        name=name_of(folder),
        path=folder,
        format="totalsegmentator",
        cases=cases,
        meanings={number: name for name, number in ids.items()},
        modality=kinds.pop() if len(kinds) == 1 else "unknown",
    )


def _image(scan: Path) -> tuple[Path, Modality]:
    for name, modality in _IMAGES:
        if (scan / name).exists():
            return scan / name, modality
    raise FileFormatError(
        expected=f"{' or '.join(name for name, _ in _IMAGES)} in {scan}",
        got="neither",
        do="copy the image, or take the folder away",
    )


def _splits(meta: Path) -> dict[str, Split]:
    if not meta.is_file():
        return {}
    with meta.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    strange = sorted({str(row.get("split")) for row in rows} - set(_SPLITS))
    if strange or any(not row.get("image_id") for row in rows):
        raise FileFormatError(
            expected="columns image_id;...;split in meta.csv, with train, val or test",
            got=f"{meta}: {', '.join(strange) or 'a row without image_id'}",
            do="correct meta.csv, or take it away: then every scan is for training",
        )
    return {row["image_id"]: _SPLITS[row["split"]] for row in rows}
