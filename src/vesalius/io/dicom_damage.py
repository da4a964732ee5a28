"""Damaged files -> the stacks whose slices they were or may have been: refused, or told what may be missing.

A slice that is missing between others leaves a gap, which the geometry shows. One that is missing at an end leaves
nothing, so that a damaged file must never be left out in silence.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from vesalius.errors import InputError
from vesalius.io.archives import StoredFile
from vesalius.io.dicom_frames import Frame
from vesalius.io.dicom_geometry import Stack
from vesalius.io.dicom_headers import Refusal, is_named_like_dicom

_Family: TypeAlias = tuple[Path, str]
"""A folder, and a file's name with its numbers left out: what the slices of one export have in common."""


def with_damage(stacks: Sequence[Stack], refusals: Sequence[Refusal]) -> list[Stack]:
    """Mark the stacks that damaged files belong to.

    A stack is refused where a damaged file names its series, or names none but lies beside its slices and is called
    like them and like no other series. Any other damaged file that lies beside its slices gives it a note.

    Args:
        stacks: What the sound files make up.
        refusals: The other files; those that are ``unreadable`` are the damaged ones.
    """
    damaged = [refusal for refusal in refusals if refusal.kind == "unreadable"]
    if not damaged:
        return list(stacks)
    series: dict[_Family, set[str]] = {}
    for stack in stacks:
        for frame in stack.frames:
            series.setdefault(_family(frame.file.path), set()).add(stack.series.series_uid)
    for refusal in refusals:
        if refusal.series.series_uid:
            series.setdefault(_family(refusal.file.path), set()).add(refusal.series.series_uid)
    return [_marked(stack, damaged, series) for stack in stacks]


def without_stray_links(frames: Iterable[Frame], refusals: Iterable[Refusal]) -> list[Refusal]:
    """Leave out the dead links that lie among slices and are called like none of them: no export of a scanner's.

    Where slices are called this way and that, or the link is called like DICOM, nobody can tell, and it stays.
    """
    families: dict[Path, set[_Family]] = {}
    for frame in frames:
        families.setdefault(frame.file.path.parent, set()).add(_family(frame.file.path))

    def is_stray(file: StoredFile) -> bool:
        of_slices = families.get(file.path.parent, set())
        is_like_them = len(of_slices) != 1 or _family(file.path) in of_slices
        return not is_like_them and file.is_dead_link and not is_named_like_dicom(file.path)

    return [refusal for refusal in refusals if not is_stray(refusal.file)]


def _family(path: Path) -> _Family:
    return path.parent, re.sub(r"\d+", "#", path.name)


def _marked(stack: Stack, damaged: Iterable[Refusal], series: dict[_Family, set[str]]) -> Stack:
    if stack.kind not in ("volume", "derived"):
        return stack
    uid = stack.series.series_uid
    own = [refusal for refusal in damaged if uid and refusal.series.series_uid == uid]
    if own:
        return _refused(stack, own, f"{_files(own)} in the series", own[0].error.do)
    folders = {frame.file.path.parent for frame in stack.frames}
    beside = [r for r in damaged if not r.series.series_uid and r.file.path.parent in folders]
    alike = [refusal for refusal in beside if series.get(_family(refusal.file.path)) == {uid}]
    if alike:
        do = f"{alike[0].error.do}, or take it out of the folder if it is no slice of this series"
        return _refused(stack, alike, f"{_files(alike)} named like slices of the series", do)
    if not beside:
        return stack
    note = f"{_files(beside)} beside the series left out ({_found(beside[0])}): slices may be missing"
    filled = stack.filled and replace(stack.filled, notes=(*stack.filled.notes, note))
    return replace(stack, notes=(*stack.notes, note), filled=filled)


def _refused(stack: Stack, damaged: Sequence[Refusal], what: str, do: str) -> Stack:
    first = damaged[0].error
    error: InputError = type(first)(expected=first.expected, got=f"{what}: {_found(damaged[0])}", do=do)
    return replace(stack, error=error, filled=None)


def _files(damaged: Sequence[Refusal]) -> str:
    return f"{len(damaged)} damaged file{'s' if len(damaged) > 1 else ''}"


def _found(refusal: Refusal) -> str:
    name, got = refusal.file.path.name, refusal.error.got
    return got if name in got else f"{name}: {got}"
