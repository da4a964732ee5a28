"""Paths as people write them, in lists and on command lines: ``~`` is a home folder, and not all text is a path."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path


def at_home(written: str | Path) -> Path:
    """Return a path with ``~`` and ``~name`` as home folders; as it is written where there is no such user.

    Example:
        >>> at_home("~backup-of-nobody.nii.gz").name
        '~backup-of-nobody.nii.gz'
    """
    path = Path(written)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def can_be_path(written: str) -> bool:
    """Say whether a file could be called so: none has a zero byte in its path, or half a surrogate pair."""
    try:
        return b"\0" not in os.fsencode(written)
    except UnicodeEncodeError:
        return False
