"""The folder of an evaluation: new, empty, or one that an evaluation of ours was written to before."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

from vesalius.errors import UsageError

RECORD = "evaluation.json"
"""Written first: with it in a folder, the other files there of its names are ours to replace."""
SCHEMA = "vesalius evaluation 1"
"""What ``evaluation.json`` says it is."""
_BEFORE_SCHEMA = frozenset({"vesalius", "about", "metrics", "summary", "not_compared", "scores"})
"""Keys of an ``evaluation.json`` from before it said what it is."""
_SHOWN = 3


def check_report_folder(folder: Path) -> None:
    """Refuse, before anything is measured, a folder with files of somebody else.

    Args:
        folder: Where the report is to go.

    Raises:
        UsageError: If it is a file, or holds files and no ``evaluation.json`` of ours.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            expected="a folder to write to", got=f"the file {folder}", do="name another folder with -o"
        )
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    visible = [name for name in names if not name.startswith(".")]
    if visible and not _is_ours(folder / RECORD):
        some = ", ".join(visible[:_SHOWN]) + (", ..." if len(visible) > _SHOWN else "")
        raise UsageError(
            expected=f"{folder} to be new, empty, or to hold an earlier evaluation",
            got=f"{len(visible)} files and folders of something else: {some}",
            do="name another folder with -o",
        )


def _is_ours(record: Path) -> bool:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    return content.get("schema") == SCHEMA or ("schema" not in content and content.keys() >= _BEFORE_SCHEMA)
