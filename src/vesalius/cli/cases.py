"""Cases of a batch: the scans of a folder or of a list, each with a name that its result folder will have."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vesalius.errors import FileFormatError, InputError, UsageError

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
_NO_IMAGE = (".seg.nrrd", ".seg.nii.gz", ".seg.nii")
_IMAGE_KEYS = ("image", "path", "input")
_LISTS = ("training", "validation", "test", "testing")
_LOOKED_AT = 20
_LONGEST_NAME = 120


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scan of a batch.

    Args:
        name: Of the case, and of its folder in OUT.
        path: A file, or a folder of DICOM.
        series: Which DICOM series, where there are several.
    """

    name: str
    path: Path
    series: str | None = None


def list_cases(source: Path, *, leave_out: Path | None = None) -> list[Case]:
    """List the scans of a folder (images and DICOM folders in it), or of a list (``.txt``, ``.csv``, ``.json``).

    Args:
        source: A folder, or a list: a path a line; a table with a column ``image`` and perhaps ``name`` and
            ``series``; or JSON, a list of the same or MONAI's ``{"training": [{"image": ...}], ...}``. Paths are
            relative to the list.
        leave_out: A folder that is no scan: the results.

    Returns:
        Cases by name, each name once.

    Raises:
        FileFormatError: If there is no such folder or list, or it names no scan.
        UsageError: If the folder is itself a DICOM series, or two cases would have one name.
    """
    if source.is_dir():
        cases = list(_of_folder(source, leave_out.resolve() if leave_out else None))
    else:
        cases = [_of_entry(entry, source) for entry in _entries(source)]
    if not cases:
        raise FileFormatError(
            expected="scans: NIfTI, NRRD or MetaImage files, zips, or folders of DICOM",
            got=f"none in {source}",
            do="name a folder with scans directly in it, or a list of their paths",
        )
    return sorted(_with_distinct_names(cases), key=lambda case: case.name)


def _of_folder(folder: Path, leave_out: Path | None) -> Iterator[Case]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() == leave_out:
            continue
        if path.is_file():
            if _is_image(path):
                yield Case(name=_stem(path), path=path)
            elif _is_dicom(path):
                raise UsageError(
                    expected="a folder with one scan a file or subfolder",
                    got=f"{folder}, which itself holds DICOM files such as {path.name}",
                    do=f"for this one scan: vesalius segment {folder} -o OUT",
                )
        elif path.is_dir():
            yield from _of_subfolder(path)


def _of_subfolder(folder: Path) -> Iterator[Case]:
    """Yield the images of a subfolder, named after it (and themselves, where there are several), or its DICOM."""
    images = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_image(path)]
    for path in images:
        yield Case(name=folder.name if len(images) == 1 else f"{folder.name}_{_stem(path)}", path=path)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not images and any(_is_dicom(path) for path in islice(files, _LOOKED_AT)):
        yield Case(name=folder.name, path=folder)


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(_SUFFIXES) and not name.endswith(_NO_IMAGE) and not name.startswith(".")


def _is_dicom(path: Path) -> bool:
    from vesalius.io.formats import format_of

    try:
        return format_of(path) == "dicom"
    except InputError:
        return False


def _stem(path: Path) -> str:
    suffix = next((end for end in _SUFFIXES if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def _entries(source: Path) -> Iterable[Mapping[str, Any]]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise FileFormatError(
            expected="a folder of scans, or a list of them (.txt, .csv, .json)",
            got=f"{source}: {reason}",
            do="check the path",
        ) from None
    if source.suffix.lower() == ".json":
        return _json_entries(source, text)
    if source.suffix.lower() == ".csv":
        return _csv_entries(source, text)
    lines = (line.strip() for line in text.splitlines())
    return [{"image": line} for line in lines if line and not line.startswith("#")]


def _json_entries(source: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_list(source, f"no JSON: {error}") from None
    if isinstance(content, dict):
        parts = [content.get(key, []) for key in _LISTS]
        if not all(isinstance(part, list) for part in parts):
            raise _bad_list(source, f"something else than lists under {', '.join(_LISTS)}")
        content = [entry for part in parts for entry in part]
    if not isinstance(content, list):
        raise _bad_list(source, "neither a list nor an object of lists")
    return [entry if isinstance(entry, dict) else {"image": entry} for entry in content]


def _csv_entries(source: Path, text: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(text)))
    if rows and not set(_IMAGE_KEYS) & set(rows[0]):
        raise _bad_list(source, f"a table with the columns {', '.join(filter(None, rows[0]))}")
    return rows


def _of_entry(entry: Mapping[str, Any], source: Path) -> Case:
    image = next((entry[key] for key in _IMAGE_KEYS if entry.get(key)), None)
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(image, str):
        raise _bad_list(source, f"an entry without a path: {dict(entry)}")
    path = source.parent / Path(image).expanduser()
    name, series = entry.get("name"), entry.get("series")
    return Case(name=str(name or _stem(path)), path=path, series=str(series) if series else None)


def _with_distinct_names(cases: Sequence[Case]) -> Iterator[Case]:
    """Make names fit for folders; cases of one name get their folder's name before theirs."""
    named = [replace(case, name=_folder_name(case.name)) for case in cases]
    counts = Counter(case.name.casefold() for case in named)
    seen: dict[str, Case] = {}
    for case in named:
        is_shared = counts[case.name.casefold()] > 1
        name = _folder_name(f"{case.path.parent.name}_{case.name}") if is_shared else case.name
        other = seen.setdefault(name.casefold(), case)
        if other is not case:
            raise UsageError(
                expected="a name of its own for every case",
                got=f"{name!r} for both {other.path} and {case.path}",
                do="give names in a list: a .csv with the columns image,name",
            )
        yield replace(case, name=name)


def _folder_name(name: str) -> str:
    plain = "".join(letter if letter.isprintable() and letter not in '/\\:*?"<>|' else "_" for letter in name)
    return plain.strip(". ")[:_LONGEST_NAME] or "case"


def _bad_list(source: Path, got: str) -> FileFormatError:
    return FileFormatError(
        expected="a list of scans: paths in a .txt, a column `image` in a .csv, or a .json list",
        got=f"{source.name}: {got}",
        do="see `vesalius batch --help`",
    )
