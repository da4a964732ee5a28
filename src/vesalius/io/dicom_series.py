"""Any folder or zip of DICOM -> a table of its series -> one of them as a volume (CT in Hounsfield units).

The table names every file's series, which one would be read, and what is wrong with the others. Reading never makes
up geometry: what cannot be placed in space is refused with what was found, where, and what to do.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vesalius.allowance import available_bytes
from vesalius.errors import DicomSeriesError, InputError, MemoryBudgetError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Modality, Volume
from vesalius.io.archives import list_files
from vesalius.io.dicom_damage import with_damage, without_stray_links
from vesalius.io.dicom_frames import Frame, Kind
from vesalius.io.dicom_geometry import Stack
from vesalius.io.dicom_headers import Refusal, read_header
from vesalius.io.dicom_pixels import is_whole, read_voxels
from vesalius.io.dicom_source import DicomSource
from vesalius.io.dicom_stacks import make_stacks
from vesalius.io.dicom_writer import write_series
from vesalius.io.pydicom_silence import quiet_pydicom

__all__ = ["DicomSource", "SeriesRow", "list_series", "read_series", "write_series"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """One line of the table of series.

    Args:
        series_uid: What to name to read it: the SeriesInstanceUID, with ``#2`` for the second volume of a series
            that mixes several; empty for files that belong to none.
        description: As the scanner wrote it.
        modality: CT, MR, SEG...
        num_files: How many files it has.
        shape: Voxels along i, j and k; None where it is no volume.
        spacing_mm: Their spacing; None where it is no volume.
        kind: ``volume``, ``derived`` (a reformat or an anonymised copy), ``localizer``, ``projection``, ``other``
            (no image, or no slices), ``unreadable``, ``not DICOM``.
        usable: Whether it can be read as a volume.
        reasons: Why not, or what was mended, or what is worth knowing.
        chosen: Whether it is the one read when none is named.
    """

    series_uid: str
    description: str
    modality: str
    num_files: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    kind: Kind
    usable: bool
    reasons: tuple[str, ...] = ()
    chosen: bool = False


def list_series(path: Path) -> list[SeriesRow]:
    """List what a folder, a zip or a file holds; the series that would be read comes first.

    Args:
        path: A folder (read with its subfolders), a zip, or one DICOM file.

    Raises:
        FileFormatError: If there is nothing, or the zip is damaged.
        UnsafeFileError: If the zip or folder is built to exhaust or to escape.
    """
    stacks, refusals = _scan(path)
    chosen, why = _choose(stacks)
    rows = [_row(stack, is_chosen=stack is chosen, why=why if stack is chosen else ()) for stack in stacks]
    rows.sort(key=lambda row: (not row.chosen, not row.usable))
    return rows + _refused_rows(refusals)


def read_series(path: Path, *, series_uid: str | None = None, fill_gaps: bool = False) -> Volume:
    """Read one series of a folder, a zip or a file as a volume.

    Args:
        path: A folder (read with its subfolders), a zip, or one DICOM file.
        series_uid: Which one, as ``list_series`` names it; None for the one it marks as chosen.
        fill_gaps: Interpolate over missing slices and uneven steps, up to gaps of four steps, instead of refusing;
            a series without gaps is read before one with them, unless that is named.

    Returns:
        The volume in the order of the scanner's slices: Hounsfield units where ``modality`` is CT, int16 where
        that is lossless, else float32; ``source`` is a ``DicomSource``. A tilted gantry gives a sheared grid.

    Raises:
        DicomSeriesError: If there is no such series, or it is not one sound volume.
        FileFormatError: If files are damaged.
        UnsafeFileError: If they are built to exhaust or to escape.
        MemoryBudgetError: If the volume is larger than the free memory.
    """
    with quiet_pydicom():
        stacks, refusals = _scan(path)
        if fill_gaps:
            stacks = [stack.filled or stack for stack in stacks]
        stack, grid = _placed(stacks, refusals, series_uid)
        _check_memory(grid, num_bytes=2 if all(map(is_whole, stack.frames)) else 4)
        data = read_voxels(stack.frames, np.asarray(stack.places))
    for note in stack.notes:
        _logger.info("%s", note)
    num_usable = sum(other.error is None for other in stacks)
    if num_usable > 1 and not series_uid:
        note = f"one of {num_usable} usable series was read; --series names another"
        _logger.warning("%s", note)
        stack = replace(stack, notes=(note, *stack.notes))
    num_others = _num_damaged_of_others(stack, refusals)
    if num_others:
        _logger.warning("damaged files of other series beside it were left out: %d", num_others)
    return Volume(data, grid, _modality(stack), _source(stack, grid))


def read_grid(path: Path) -> Grid:
    """Read where the voxels of the series are that ``read_series`` would read, from headers alone.

    Raises:
        DicomSeriesError, FileFormatError, UnsafeFileError: As ``read_series``.
    """
    return _placed(*_scan(path), None)[1]


def _placed(stacks: Sequence[Stack], refusals: Sequence[Refusal], series_uid: str | None) -> tuple[Stack, Grid]:
    """Return the stack to read, and where it lies; raise what says best why there is none."""
    stack = _find(stacks, series_uid) if series_uid else _choose(stacks)[0]
    if stack is None or stack.error is not None or stack.grid is None:
        raise _why_none(stack, stacks, refusals, series_uid)
    return stack, stack.grid


def _scan(path: Path) -> tuple[list[Stack], list[Refusal]]:
    frames: list[Frame] = []
    refusals: list[Refusal] = []
    with quiet_pydicom():
        for file in list_files(Path(path)):
            found = read_header(file)
            if isinstance(found, Refusal):
                refusals.append(found)
            else:
                frames += found
        refusals = without_stray_links(frames, refusals)
        return with_damage(make_stacks(frames), refusals), refusals


def _choose(stacks: Sequence[Stack]) -> tuple[Stack | None, tuple[str, ...]]:
    """Pick the stack to read when none is named: originals before derived ones, scanned slices before made ones.

    None where there is none, or where usable ones belong to different studies: no rule may choose a patient.
    """
    usable = [stack for stack in stacks if stack.error is None]
    if not usable or len({stack.series.study_uid for stack in usable}) > 1:
        return None, ()
    ranked = sorted(usable, key=_rank)
    if len(usable) == 1:
        return ranked[0], ("the only usable series",)
    why = (
        f"chosen of {len(usable)} usable ones: original, no gaps filled, MR or Hounsfield units, most slices, "
        "thinnest, lowest series number, in that order"
    )
    return ranked[0], (why,)


def _rank(stack: Stack) -> tuple[object, ...]:
    height_mm = stack.grid.spacing_mm[2] if stack.grid else 0.0
    return (
        stack.kind != "volume",
        stack.is_filled,
        _modality(stack) == "unknown",
        -len(stack.frames),
        height_mm,
        stack.series.number,
        stack.key,
    )


def _find(stacks: Sequence[Stack], series_uid: str) -> Stack | None:
    return next((stack for stack in stacks if stack.key == series_uid), None)


def _why_none(
    stack: Stack | None, stacks: Sequence[Stack], refusals: Sequence[Refusal], series_uid: str | None
) -> InputError:
    """Return the error that says best why nothing can be read."""
    if stack is not None and stack.error is not None:
        return stack.error
    if series_uid:
        found = next((r for r in refusals if r.series.series_uid == series_uid), None)
        return found.error if found else _unknown(series_uid, stacks)
    usable = [s for s in stacks if s.error is None]
    if usable:
        return DicomSeriesError(
            expected="series of one study",
            got=f"{len(usable)} usable series of {len({s.series.study_uid for s in usable})} studies",
            do="name one (--series UID); `vesalius series` lists them",
        )
    errors = [s.error for s in stacks if s.error]
    said = {s.series.series_uid for s in stacks} | ({""} if errors else set())  # theirs tell of damage beside them
    errors += [r.error for r in refusals if r.kind == "unreadable" and r.series.series_uid not in said]
    return _summary(errors or [r.error for r in refusals if r.kind == "other"] or [r.error for r in refusals])


def _summary(errors: Sequence[InputError]) -> InputError:
    """Return the one error, or one that counts them."""
    if not errors:
        return DicomSeriesError(expected="DICOM files", got="no file at all", do="name the folder of the scan")
    if len({(error.expected, error.got) for error in errors}) == 1:
        return errors[0]
    several = "; ".join(dict.fromkeys(error.got for error in errors[:3]))
    return DicomSeriesError(
        expected="one usable series",
        got=f"none in {len(errors)}: {several}{'; ...' if len(errors) > 3 else ''}",
        do="`vesalius series` lists each with its reason",
    )


def _unknown(series_uid: str, stacks: Sequence[Stack]) -> InputError:
    return DicomSeriesError(
        expected=f"one of the {len(stacks)} series there",
        got=repr(series_uid),
        do="name one as `vesalius series` lists it",
    )


def _num_damaged_of_others(stack: Stack, refusals: Sequence[Refusal]) -> int:
    """Count what the stack's notes do not tell: damaged files beside its slices that name another series."""
    folders = {frame.file.path.parent for frame in stack.frames}
    damaged = [r for r in refusals if r.kind == "unreadable" and r.file.path.parent in folders]
    return sum(r.series.series_uid not in ("", stack.series.series_uid) for r in damaged)


def _check_memory(grid: Grid, *, num_bytes: int) -> None:
    needed, free = num_bytes * grid.num_voxels, available_bytes()
    if needed > free:
        raise MemoryBudgetError(
            expected=f"a volume that fits into {free / 2**30:.1f} GB of free memory",
            got=f"{needed / 2**30:.1f} GB",
            do="use a machine with more memory, or a thinner field of view",
        )


def _modality(stack: Stack) -> Modality:
    if stack.series.modality == "MR":
        return "MR"
    return "CT" if all(frame.is_hounsfield for frame in stack.frames) else "unknown"


def _source(stack: Stack, grid: Grid) -> DicomSource:
    nearest = [stack.frames[round(place)] for place in stack.places]
    files = list(dict.fromkeys(frame.file for frame in nearest))
    at = {file: number for number, file in enumerate(files)}
    return DicomSource(
        series_uid=stack.series.series_uid,
        key=stack.key,
        description=stack.series.description,
        grid=grid,
        stored=tuple(files),
        slices=tuple((at[frame.file], frame.number) for frame in nearest),
        is_filled=stack.is_filled,
        repairs=stack.notes,
    )


def _row(stack: Stack, *, is_chosen: bool, why: tuple[str, ...]) -> SeriesRow:
    notes = stack.notes
    if stack.error is None and stack.series.modality == "CT" and _modality(stack) == "unknown":
        notes = (*notes, "values are not Hounsfield units (RescaleType, or no rescale): modality unknown")
    return SeriesRow(
        series_uid=stack.key,
        description=stack.series.description,
        modality=stack.series.modality,
        num_files=stack.num_files,
        shape=stack.grid.shape if stack.grid else None,
        spacing_mm=stack.grid.spacing_mm if stack.grid else None,
        kind=stack.kind,
        usable=stack.error is None,
        reasons=(*why, *_reasons(stack.error), *notes),
        chosen=is_chosen,
    )


def _reasons(error: InputError | None) -> tuple[str, ...]:
    return () if error is None else (f"{error.got}; {error.do}",)


def _refused_rows(refusals: Sequence[Refusal]) -> list[SeriesRow]:
    groups: dict[tuple[str, Kind], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.series.series_uid, refusal.kind), []).append(refusal)
    return [
        SeriesRow(
            series_uid=uid,
            description=members[0].series.description,
            modality=members[0].series.modality,
            num_files=len(members),
            shape=None,
            spacing_mm=None,
            kind=kind,
            usable=False,
            reasons=tuple(dict.fromkeys(r for member in members for r in _reasons(member.error)))[:5],
        )
        for (uid, kind), members in groups.items()
    ]
