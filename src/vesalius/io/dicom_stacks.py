"""Frames -> stacks: what of a folder belongs to one volume, mixed series parted, copies left out.

Slices are sorted by the projection of their position on the normal, never by number or name.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from vesalius.errors import DicomSeriesError, InputError
from vesalius.io.dicom_frames import Frame, Kind
from vesalius.io.dicom_geometry import Stack, placed
from vesalius.io.dicom_pixels import same_voxels

_SAME_COSINE = 5e-4
_ACQUISITIONS = ((0, "AcquisitionNumber"), (1, "TemporalPositionIdentifier"))
"""What says that slices were taken at different times: its place in ``Frame.splitters``, and its name."""
_OVERLAP = 1.5
"""Slices overlap where they are this many times thicker than the step to the next one."""


def make_stacks(frames: Iterable[Frame]) -> list[Stack]:
    """Sort frames into stacks: one for each series, or several where a series mixes volumes."""
    series: dict[str, list[Frame]] = {}
    for frame in frames:
        series.setdefault(frame.series.series_uid, []).append(frame)
    stacks = []
    for members in series.values():
        parts = [part for parallel in _parallel(members) for part in _one_image_a_place(parallel)]
        parts.sort(key=lambda stack: len(stack.frames), reverse=True)
        stacks += [_numbered(stack, number, len(parts)) for number, stack in enumerate(parts, start=1)]
    return stacks


def _numbered(stack: Stack, part: int, num_parts: int) -> Stack:
    if num_parts == 1:
        return stack
    note = f"part {part} of {num_parts} of a series that mixes volumes"
    filled = stack.filled and replace(stack.filled, part=part, num_parts=num_parts)
    return replace(stack, part=part, num_parts=num_parts, notes=(*stack.notes, note), filled=filled)


def _parallel(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Part frames that differ in size, spacing, kind, frame of reference or orientation."""
    groups: list[tuple[Hashable, np.ndarray, list[Frame]]] = []
    for frame in frames:
        kind = frame.kind if frame.kind in ("localizer", "projection") else "volume"
        layout = frame.layout
        key = (kind, layout.rows, layout.columns, frame.series.frame_of_reference, frame.series.modality)
        numbers = np.array([*frame.row_lps, *frame.column_lps, *np.log(frame.pixel_mm)])
        for other_key, other_numbers, members in groups:
            if key == other_key and np.abs(numbers - other_numbers).max() <= _SAME_COSINE:
                members.append(frame)
                break
        else:
            groups.append((key, numbers, [frame]))
    return [members for _, _, members in groups]


def _one_image_a_place(frames: list[Frame]) -> list[Stack]:
    """Make stacks that hold each place once, of one acquisition: copies dropped, several parted, else refused."""
    places = _places(frames)
    repeated = [images for images in places if len(images) > 1]
    if not repeated:
        return _interleaved_parted([images[0] for images in places], frames, notes=())
    try:
        if same_voxels(*repeated[0][:2]) and all(
            same_voxels(images[0], other) for images in repeated for other in images[1:]
        ):
            note = f"{len(repeated)} slices present more than once with equal pixels: copies left out"
            return _interleaved_parted([images[0] for images in places], frames, notes=(note,))
    except InputError as error:
        return [_refused(frames, error)]
    parts = _part_by_tag(frames, max(len(images) for images in places))
    if parts:
        return [stack for part in parts for stack in _one_image_a_place(part)]
    return [
        _refused(
            frames,
            DicomSeriesError(
                expected="one image at each place",
                got=f"different images at {len(repeated)} of {len(places)} places, with no tag to tell them apart",
                do="keep the files of one acquisition in the folder",
            ),
        )
    ]


def _interleaved_parted(
    ordered: Sequence[Frame], members: Sequence[Frame], *, notes: tuple[str, ...]
) -> list[Stack]:
    """Make one stack, or one of each acquisition where they overlap one another and are sound by themselves.

    Two phases half a step apart make up one even stack, whose slices belong to either in turn and are twice as
    thick as its step. Slices in turn that touch but do not overlap (MR in two packages) are one volume, as are
    acquisitions that follow upon one another (a table that moves on, a number for every slice).
    """
    for tag, name in _ACQUISITIONS:
        parts: dict[str, list[Frame]] = {}
        for frame in ordered:
            parts.setdefault(frame.splitters[tag], []).append(frame)
        num_runs = 1 + sum(one.splitters[tag] != next_.splitters[tag] for one, next_ in pairwise(ordered))
        if "" in parts or num_runs == len(parts):
            continue
        if _overlap(ordered, tag):
            stacks = [stack for part in parts.values() for stack in _one_image_a_place(part)]
            if all(stack.error is None and len(stack.frames) > 1 for stack in stacks):
                return [replace(stack, notes=(*notes, *stack.notes)) for stack in stacks]
        note = f"slices of {len(parts)} acquisitions ({name}) lie between one another: see whether they fit"
        return [_stack(ordered, members, notes=(*notes, note))]
    return [_stack(ordered, members, notes=notes)]


def _overlap(ordered: Sequence[Frame], tag: int) -> bool:
    """Say whether slices of different acquisitions overlap; no, where they do not state their thickness."""
    normal = np.asarray(ordered[0].normal_lps)
    steps = [
        float(normal @ np.subtract(next_.position_lps, one.position_lps))
        for one, next_ in pairwise(ordered)
        if one.splitters[tag] != next_.splitters[tag]
    ]
    thinnest = min(frame.thickness_mm or 0.0 for frame in ordered)
    return thinnest > _OVERLAP * min(steps)


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by position, in slice order."""
    normal = np.asarray(frames[0].normal_lps)
    near_mm = min(0.01, 0.02 * min(frames[0].pixel_mm))
    ordered = sorted(frames, key=lambda f: (float(normal @ np.asarray(f.position_lps)), f.file.path, f.number))
    places: list[list[Frame]] = []
    for frame in ordered:
        for images in reversed(places):
            apart = np.asarray(frame.position_lps) - np.asarray(images[0].position_lps)
            if abs(float(normal @ apart)) > near_mm:
                places.append([frame])
                break
            if np.abs(apart).max() <= near_mm:
                images.append(frame)
                break
        else:
            places.append([frame])
    return places


def _part_by_tag(frames: Sequence[Frame], repeats: int) -> list[list[Frame]]:
    """Part frames by the first tag that has no more values than a place has images, and parts some of them."""
    for tag in range(len(frames[0].splitters)):
        parts: dict[str, list[Frame]] = {}
        for frame in frames:
            parts.setdefault(frame.splitters[tag], []).append(frame)
        if 1 < len(parts) <= repeats and all(
            max(len(images) for images in _places(part)) < repeats for part in parts.values()
        ):
            return list(parts.values())
    return []


def _stack(ordered: Sequence[Frame], members: Sequence[Frame], *, notes: tuple[str, ...] = ()) -> Stack:
    kind: Kind = ordered[0].kind if ordered[0].kind in ("localizer", "projection") else "volume"
    if kind == "volume" and all(frame.kind == "derived" for frame in ordered):
        kind = "derived"
    if kind in ("localizer", "projection"):
        return _refused(
            members,
            DicomSeriesError(
                expected="parallel slices through the body",
                got=f"a {kind}",
                do="name the series of the scan itself",
            ),
        )
    try:
        return placed(Stack(ordered[0].series, tuple(ordered), kind, _num_files(members), notes=notes))
    except InputError as error:
        return _refused(members, error)


def _refused(frames: Sequence[Frame], error: InputError) -> Stack:
    return Stack(frames[0].series, tuple(frames), frames[0].kind, _num_files(frames), error=error)


def _num_files(frames: Sequence[Frame]) -> int:
    return len({frame.file.path for frame in frames})
