"""Paths that a list writes: where they begin, what they may not leave, and which files are not there."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import FileFormatError, UnsafeFileError
from vesalius.io.written_paths import at_home

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Images and label maps that are one file (with what lies beside a detached header)."""
_BIDS = re.compile(r"sub-[A-Za-z0-9]+(?=_)")
_NAMED = 3
_SHOWN = 80


@dataclass(frozen=True)
class Root:
    """The folder in which a list's files lie.

    Args:
        folder: Where relative paths begin.
        allow_outside: Whether a path may lead out of it, through ``..``, as an absolute path or over a link.
    """

    folder: Path
    allow_outside: bool = False

    def resolve(self, written: str | Path) -> Path:
        """Return the place that a path means which a list writes, as seen from the folder.

        Raises:
            FileFormatError: If it can mean no place.
            UnsafeFileError: If it lies outside the folder and that was not allowed.
        """
        return self._inside(self.folder / at_home(written), str(written))

    def found(self, path: Path) -> Path:
        """Return a path that was found by looking into folders: as it is, it already says where the file lies.

        Raises:
            FileFormatError: If its links lead in a circle.
            UnsafeFileError: If it lies outside the folder and that was not allowed.
        """
        return self._inside(path, str(path))

    def _inside(self, path: Path, named: str) -> Path:
        with _refused_if_no_path(named):
            place = path.resolve()
        if not self.allow_outside and not place.is_relative_to(self.folder.resolve()):
            raise UnsafeFileError(
                expected=f"a path inside {self.folder}",
                got=f"{named}, which leads out of it",
                do="name the folder that holds everything with --root, or allow it with --allow-outside",
            )
        return path


@contextmanager
def _refused_if_no_path(named: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:  # a zero byte; links in a circle
        raise FileFormatError(
            expected="a path that a file can have",
            got=f"{named[:_SHOWN]!r} ({error})",
            do="correct the list, or the link",
        ) from None


def name_of(folder: Path) -> str:
    """Return a folder's own name, also where it is given as ``.``."""
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve() follows links


def stem_of(path: Path) -> str:
    """Return a file's name without the suffix that names its format."""
    suffix = next((end for end in IMAGE_SUFFIXES if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def subject_of(image: Path) -> str | None:
    """Return the subject that a file's name states as BIDS has it (``sub-07_ses-1_T1w.nii.gz``), or None."""
    match = _BIDS.match(image.name)
    return match[0] if match else None


def is_image(path: Path) -> bool:
    """Say whether a file's name is that of an image or a label map."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")


def missing_files(case: ListedCase) -> tuple[Path, ...]:
    """Return the files that a case names and that are not there, or lie where nobody may look."""
    return tuple(path for path in case.files if not _is_there(path))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a closed folder, a name longer than any
        return False


def used_twice(cases: Sequence[ListedCase]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every name, image or label file that several cases have, with the names of these cases."""
    used = [
        *((case.name, case.name) for case in cases),
        *((str(case.image.resolve()), case.name) for case in cases),
        *((str(case.label.resolve()), case.name) for case in cases if case.label),
    ]
    for what, count in Counter(what for what, _ in used).items():
        if count > 1:
            yield what, tuple(name for other, name in used if other == what)


def require_sound(listed: DataList) -> DataList:
    """Return a list whose files are all there and whose cases and files stand in it once.

    Raises:
        FileFormatError: If it has no case, a file is missing, or a case, an image or a label stands twice.
    """
    if not listed.cases:
        raise FileFormatError(
            expected=f"cases in {listed.path}", got="none", do="check the path; see `vesalius dataset check --help`"
        )
    missing = [path for case in listed.cases for path in missing_files(case)]
    if missing:
        raise FileFormatError(
            expected=f"the files that {listed.path.name} names",
            got=f"{len(missing)} missing, such as {', '.join(map(str, missing[:_NAMED]))}",
            do="copy them, or take their cases out of the list; `vesalius dataset check` names all",
        )
    for what, names in used_twice(listed.cases):
        raise FileFormatError(
            expected=f"every case and every file of {listed.path.name} once",
            got=f"{what} for {', '.join(names[:_NAMED])}",
            do="take all but one out of the list",
        )
    return listed
