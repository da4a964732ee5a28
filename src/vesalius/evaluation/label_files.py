"""Which label files belong together, by their names."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import FileFormatError, UsageError
from vesalius.inference.result_labels import is_result

_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".seg.dcm", ".dcm")
_SHOWN = 5


@dataclass(frozen=True)
class FilePair:
    """A result and its reference.

    Args:
        name: Of the case.
        found: A label file, or a folder that ``vesalius segment`` wrote.
        truth: The reference.
    """

    name: str
    found: Path
    truth: Path


def pair_files(found: Path, truth: Path) -> tuple[FilePair, ...]:
    """Match results and references.

    Two files are a pair whatever their names. In two folders a file belongs to the file of the same name, suffixes
    aside; a folder that ``vesalius segment`` or ``batch`` wrote goes by its own name. Results without a reference
    are left alone, references without a result are refused: what failed must not vanish from a mean.

    Args:
        found: What was found: a label file, a result folder, or a folder of either.
        truth: The reference: a label file, or a folder of them.

    Raises:
        FileFormatError: If there is no such file or folder, or a folder without label files.
        UsageError: If one is a file and the other a folder, or a reference has no result.
    """
    for path in (found, truth):
        if not path.exists():
            raise FileFormatError(expected="a label file or a folder of them", got=f"{path}, which is not there",
                                  do="check the path")  # fmt: skip
    if _is_one(found) and _is_one(truth):
        return (FilePair(_case_name(truth), found, truth),)
    if _is_one(found) or _is_one(truth):
        one, many = (found, truth) if _is_one(found) else (truth, found)
        raise UsageError(
            expected="two label files, or two folders of them",
            got=f"{one}, one label map, and {many}, a folder of several",
            do="name the file in the folder that belongs to the other",
        )
    results, references = _named(found), _named(truth)
    missing = [name for name in references if name not in results]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UsageError(
            expected=f"a result in {found} for each of {len(references)} references in {truth}, of the same name",
            got=f"none for {', '.join(missing[:_SHOWN])}{more}",
            do="make them, rename them, or take these references away: the means will then be of fewer cases",
        )
    return tuple(FilePair(name, results[name], references[name]) for name in references)


def _is_one(path: Path) -> bool:
    return path.is_file() or is_result(path)


def _named(folder: Path) -> dict[str, Path]:
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    labels = [path for path in entries if _is_one(path) and (path.is_dir() or _has_suffix(path))]
    if not labels:
        raise FileFormatError(
            expected=f"label files in {folder}: NIfTI, NRRD, MetaImage or DICOM SEG, or result folders",
            got="none",
            do="name the folder that holds them directly",
        )
    named: dict[str, Path] = {}
    for path in labels:
        other = named.setdefault(_case_name(path), path)
        if other != path:
            raise UsageError(
                expected=f"one label file a case in {folder}",
                got=f"{other.name} and {path.name}",
                do="take one of them away",
            )
    return named


def _has_suffix(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES)


def _case_name(path: Path) -> str:
    suffix = next((end for end in _SUFFIXES if path.name.lower().endswith(end)), "") if path.is_file() else ""
    return path.name[: len(path.name) - len(suffix)] or path.name
