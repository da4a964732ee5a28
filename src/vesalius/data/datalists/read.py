"""read_list(): which format a list is, by what it holds, and its cases as one kind of record."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesalius.data.datalists import folders, monai, nnunet, totalsegmentator
from vesalius.data.datalists.paths import Root, require_sound
from vesalius.data.datalists.record import DataList
from vesalius.errors import FileFormatError
from vesalius.geometry.volume import Modality
from vesalius.labels.mapping import Meaning

_LARGEST_LIST_BYTES = 256 << 20
_EXPECTED = "a MONAI or MSD list (.json), an nnU-Net or TotalSegmentator folder, or a folder of images and labels"


def read_list(
    path: str | Path,
    *,
    root: Path | None = None,
    allow_outside: bool = False,
    channel: int | None = None,
    modality: Modality | None = None,
    meanings: Mapping[int, Meaning] | None = None,
    strict: bool = True,
) -> DataList:
    """Read a list of cases, whatever its format.

    Args:
        path: A ``.json`` list, or a folder: with a ``dataset.json`` in it (MSD, nnU-Net), with scans and their
            ``segmentations`` (TotalSegmentator), or with images and labels matched by name.
        root: Where relative paths begin, and what no path may leave; by default the list's folder.
        allow_outside: Let paths and links leave the root.
        channel: Which channel of an nnU-Net data set is the image, where there are several.
        modality: What made the images, where the list does not say so.
        meanings: What the label ids of an nnU-Net data set mean, where its labels need not say so: they may be
            regions.
        strict: Refuse a list with missing files, or with a case or file that stands twice.

    Raises:
        FileFormatError: If it is none of these, or not sound.
        UnsafeFileError: If a path leads out of the root.
        UsageError: If a channel has to be named.

    Example:
        >>> listed = read_list("Task09_Spleen")
        >>> len(listed.split("training"))
        41
    """
    given = Path(path)
    file = given / "dataset.json" if (given / "dataset.json").is_file() else given
    within = Root(root or (file if file.is_dir() else file.parent), allow_outside)
    if file.is_dir():
        read = totalsegmentator.read if totalsegmentator.recognises(file) else folders.read
        listed = read(file, within)
    else:
        listed = _from_json(file, within, channel, meanings)
    listed = replace(listed, modality=modality or listed.modality)
    return require_sound(listed) if strict else listed


def _from_json(file: Path, root: Root, channel: int | None, meanings: Mapping[int, Meaning] | None) -> DataList:
    content = _object_in(file)
    if nnunet.recognises(content):
        return nnunet.read(file, content, root, channel=channel, meanings=meanings)
    if monai.recognises(content):
        return monai.read(file, content, root)
    raise _no_list(file, f"an object with {', '.join(list(content)[:5]) or 'nothing'} in it")


def _object_in(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_LIST_BYTES:
            raise _no_list(file, f"{file.stat().st_size} bytes")
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _no_list(file, error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise _no_list(file, f"no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _no_list(file, f"a {type(content).__name__}")
    return content


def _no_list(file: Path, got: str) -> FileFormatError:
    return FileFormatError(expected=_EXPECTED, got=f"{file}: {got}", do="check the path; docs/how-to/dataset.md")
