"""``vesalius series``: what a folder or zip of DICOM holds, what would be read, and what is wrong with the rest."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.errors import InputError
from vesalius.io.plain_text import plain_text

if TYPE_CHECKING:
    from vesalius.io.dicom_series import SeriesRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius series``."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder, a zip or a file of DICOM")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 where a series would be read, 3 where none would."""
    from dataclasses import asdict

    from vesalius.io.dicom_series import list_series

    rows = list_series(args.folder)
    if args.json:
        print(json.dumps({"series": [asdict(row) for row in rows]}, indent=2))
    else:
        print("\n".join(map(plain_text, _lines(rows))))
    return 0 if any(row.usable for row in rows) else InputError.exit_code


def _lines(rows: list[SeriesRow]) -> list[str]:
    """Lay out the table: one line a series, its reasons below, ``*`` before the one that would be read."""
    if not rows:
        return ["no files"]
    head = ("", "modality", "kind", "files", "voxels", "spacing (mm)", "description")
    cells = [head, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head) - 1)]
    table = ["  ".join((*map(str.ljust, row[:-1], widths), row[-1])).rstrip() for row in cells]
    lines = [table[0]]
    for line, row in zip(table[1:], rows, strict=True):
        lines.append(line)
        lines += [f"     {row.series_uid}"] if row.series_uid else []
        lines += [f"     - {reason}" for reason in row.reasons]
    if not any(row.chosen for row in rows) and any(row.usable for row in rows):
        lines.append("several studies: name a series with --series UID")
    return lines


def _cells(row: SeriesRow) -> tuple[str, ...]:
    voxels = "x".join(map(str, row.shape)) if row.shape else "-"
    spacing = " x ".join(f"{side:.3g}" for side in row.spacing_mm) if row.spacing_mm else "-"
    mark = "*" if row.chosen else " " if row.usable else "x"
    return mark, row.modality or "-", row.kind, str(row.num_files), voxels, spacing, row.description
