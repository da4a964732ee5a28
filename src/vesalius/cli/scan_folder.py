"""Which scans a folder holds (image files, folders of images, DICOM at any depth), and why the rest is none."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import FileFormatError, InputError, UsageError

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
_NO_IMAGE = (".seg.nrrd", ".seg.nii.gz", ".seg.nii")


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


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What lies among scans and gives no case.

    Args:
        path: A subfolder, or a file that could be taken for a scan.
        why: Why it gives none.
    """

    path: Path
    why: str


def look_through(folder: Path, *, leave_out: Path | None) -> Iterator[Case | LeftOut]:
    """Say of everything in a folder that could be a scan whether it is one.

    An image file is a case. A subfolder gives the images directly in it, or is one case if DICOM lies in it at
    whatever depth; results of ours are never scans. Hidden entries and files of other kinds are passed over.

    Args:
        folder: The folder.
        leave_out: A folder in it that is passed over: the results.

    Raises:
        FileFormatError: If the folder cannot be looked into.
        UsageError: If the folder itself holds DICOM files.
    """
    try:
        entries = [(path, path.is_dir()) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise FileFormatError(
            expected="a folder of scans that can be looked into",
            got=f"{folder}: {error.strerror}",
            do="check the rights of the folder",
        ) from None
    for path, is_folder in entries:
        if path.resolve() == leave_out:
            continue
        if is_folder:
            yield from _of_subfolder(path, leave_out)
        elif path.name.lower().endswith(_NO_IMAGE):
            yield LeftOut(path=path, why="a segmentation, by its name")
        elif _is_image(path):
            yield Case(name=stem_of(path), path=path)
        elif _is_dicom(path):
            raise UsageError(
                expected="a folder with one scan a file or subfolder",
                got=f"{folder}, which itself holds DICOM files such as {path.name}",
                do=f"for this one scan: vesalius segment {folder} -o OUT",
            )


def stem_of(path: Path) -> str:
    """Return a file's name without the suffix of its format."""
    suffix = next((end for end in _SUFFIXES if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def _of_subfolder(folder: Path, leave_out: Path | None) -> Iterator[Case | LeftOut]:
    """Yield the images of a subfolder, named after it (and themselves, where there are several), or its DICOM."""
    try:
        images = [] if _is_result(folder) else [path for path in sorted(folder.iterdir()) if _is_image(path)]
    except OSError as error:
        yield LeftOut(path=folder, why=f"cannot be looked into: {error.strerror}")
        return
    for path in images:
        yield Case(name=folder.name if len(images) == 1 else f"{folder.name}_{stem_of(path)}", path=path)
    if not images:
        yield _of_depths(folder, leave_out)


def _of_depths(folder: Path, leave_out: Path | None) -> Case | LeftOut:
    """Say whether a folder without images directly in it holds DICOM; every file counts, not only the first few."""
    if _is_result(folder):
        return LeftOut(path=folder, why="a result of vesalius")
    deeper: Path | None = None
    closed: list[OSError] = []
    for path in _files_below(folder, leave_out, closed.append):
        if _is_image(path):
            deeper = deeper or path
        elif _is_dicom(path):
            return Case(name=folder.name, path=folder)  # which is refused where it holds a folder that is closed
    why = "holds neither an image nor DICOM"
    if deeper is not None:
        found = deeper.relative_to(folder).as_posix()
        why = f"holds images in folders of its own only, such as {found}: name them in a list"
    if closed:
        within = Path(closed[0].filename).relative_to(folder).as_posix()
        why = f"{within} in it cannot be looked into ({closed[0].strerror}); what is seen {why}"
    return LeftOut(path=folder, why=why)


def _files_below(folder: Path, leave_out: Path | None, on_closed: Callable[[OSError], object]) -> Iterator[Path]:
    """Yield what lies in a folder at any depth, but not what is hidden or in results; tell of closed folders."""
    for where, folders, names in os.walk(folder, onerror=on_closed):
        here = Path(where)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != leave_out and not _is_result(here / name)
        )
        yield from (here / name for name in sorted(names) if not name.startswith("."))


def _is_result(folder: Path) -> bool:
    from vesalius.inference.result_folder import read_record

    return read_record(folder) is not None


def _is_image(path: Path) -> bool:
    """Go by the name: a file that is damaged or gone (a link to nothing) is a case, and fails as one."""
    name = path.name.lower()
    return (
        name.endswith(_SUFFIXES) and not name.endswith(_NO_IMAGE) and not name.startswith(".") and not path.is_dir()
    )


def _is_dicom(path: Path) -> bool:
    from vesalius.io.formats import format_of

    try:
        return path.is_file() and format_of(path) == "dicom"
    except InputError:
        return False
