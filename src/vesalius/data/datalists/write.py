"""write_list(): a list of cases as a MONAI list, which ``read_list`` reads back equal; with what MONAI's lack."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.io.atomic import replacing


def write_list(listed: DataList, path: Path) -> None:
    """Write a list, complete or not at all; paths below its folder are written as seen from there, others whole.

    Args:
        listed: Cases, and what their label ids mean.
        path: A ``.json`` file.

    Raises:
        DiskError: If it cannot be written.
    """
    with replacing(path) as part:
        part.write_bytes(list_json(listed, path.parent))


def list_json(listed: DataList, folder: Path) -> bytes:
    """Return what ``write_list`` writes into a list in a folder."""
    content: dict[str, Any] = {"name": listed.name}
    if listed.modality != "unknown":
        content["modality"] = {"0": listed.modality}
    if listed.meanings:
        content["label_mapping"] = {str(label): meaning for label, meaning in listed.meanings.items()}
    if listed.unknown:
        content["unknown"] = sorted(listed.unknown)
    for split in ("training", "validation", "test"):
        content[split] = [dict(_entry(case, folder)) for case in listed.cases if case.split == split]
    return json.dumps(content, indent=1).encode()


def _entry(case: ListedCase, folder: Path) -> Iterator[tuple[str, Any]]:
    yield "name", case.name
    yield "image", _written(case.image, folder)
    for key in ("label", "pseudo_label", "supervoxels"):
        file: Path | None = getattr(case, key)
        if file is not None:
            yield key, _written(file, folder)
    if case.masks:
        yield "masks", {str(label): _written(file, folder) for label, file in case.masks.items()}
    if case.classes is not None:
        yield "classes", list(case.classes)
    if case.fold is not None:
        yield "fold", case.fold
    if case.patient is not None:
        yield "patient", case.patient


def _written(file: Path, folder: Path) -> str:
    """Return a path from a folder, without following links: who reads it decides whether they may lead away."""
    whole, start = Path(os.path.abspath(file)), Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() follows links
    return (whole.relative_to(start) if whole.is_relative_to(start) else whole).as_posix()
