"""Cases of a batch: the scans of a folder or of a list, each with a name that its result folder will have."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vesalius.cli.scan_folder import Case, LeftOut, look_through, stem_of
from vesalius.errors import FileFormatError, UsageError
from vesalius.io.written_paths import at_home, can_be_path

_IMAGE_KEYS = ("image", "path", "input")
_LISTS = ("training", "validation", "test", "testing")
_LONGEST_NAME = 120
_SHOWN = 3
_SHOWN_LETTERS = 80


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The scans of a batch.

    Args:
        cases: By name, each name once.
        left_out: What lies among them in a folder and is none, by path. Of a list nothing is left out.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()


def list_cases(source: Path, *, leave_out: Path | None = None) -> Listing:
    """List the scans of a folder (images and DICOM folders in it), or of a list (``.txt``, ``.csv``, ``.json``).

    Args:
        source: A folder, or a list: a path a line; a table with a column ``image`` and perhaps ``name`` and
            ``series``; or JSON, a list of the same or MONAI's ``{"training": [{"image": ...}], ...}``. Paths are
            relative to the list.
        leave_out: A folder that is no scan: the results.

    Returns:
        The cases, and what was left out.

    Raises:
        FileFormatError: If there is no such folder or list, or it names no scan.
        UsageError: If the folder is itself a DICOM series or the one for the results, or two cases would have one
            name.
    """
    left_out: list[LeftOut] = []
    results = leave_out.resolve() if leave_out else None
    if source.is_dir():
        if source.resolve() == results:  # a scan's folder, and that of its result, could be one
            raise UsageError(
                expected="a folder for the results beside the scans or within their folder",
                got=f"-o {leave_out}, which is the folder of the scans",
                do=f"name another, such as -o {source / 'results'}",
            )
        found = list(look_through(source, leave_out=results))
        cases = [one for one in found if isinstance(one, Case)]
        left_out = [one for one in found if isinstance(one, LeftOut)]
    else:
        cases = [_of_entry(entry, source) for entry in _entries(source)]
    if not cases:
        reasons = "".join(f"; {one.path.name}: {one.why}" for one in left_out[:_SHOWN])
        raise FileFormatError(
            expected="scans: NIfTI, NRRD or MetaImage files, zips, or folders of DICOM",
            got=f"none in {source}{reasons}",
            do="name a folder with scans directly in it, or a list of their paths",
        )
    return Listing(
        cases=tuple(sorted(_with_distinct_names(cases), key=lambda case: case.name)), left_out=tuple(left_out)
    )


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
    if not can_be_path(image):
        raise _bad_list(source, f"{image[:_SHOWN_LETTERS]!r}, which no path can be")
    path = source.parent / at_home(image)
    name, series = entry.get("name"), entry.get("series")
    return Case(name=str(name or stem_of(path)), path=path, series=str(series) if series else None)


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
