"""Fiducials of 3D Slicer: points with labels from a ``.mrk.json`` file.

The format is Slicer's markups schema, versions 1.0.x: a list of markups, each with a type, a coordinate system (LPS
where it says nothing) and control points. Only point lists (``Fiducial``) are read; a curve or a plane has control
points too, but they are no clicks. Keys we do not know are skipped, as the schema allows them.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import FileFormatError

_LARGEST_BYTES = 32 << 20
"""Slicer writes about 700 bytes a point."""
_SIGNS_TO_RAS = {"LPS": (-1.0, -1.0, 1.0), "RAS": (1.0, 1.0, 1.0)}
_MM_PER_UNIT = {"mm": 1.0, "um": 1e-3}
_PLACED, _UNPLACED = "defined", ("undefined", "preview")


@dataclass(frozen=True)
class Fiducial:
    """A labelled point.

    Args:
        label: What stands beside it in Slicer; may be empty.
        ras_mm: Where it is, RAS millimetres.
    """

    label: str
    ras_mm: tuple[float, float, float]


def read_fiducials(path: Path) -> list[Fiducial]:
    """Read the points of a ``.mrk.json`` file, in its order.

    Points that were never placed, or whose place was taken away (``positionStatus`` ``undefined`` or ``preview``),
    are no points and are left out.

    Args:
        path: The file.

    Raises:
        FileFormatError: If it cannot be read, is no file of markups, holds another type of markup, a unit that is
            no length, or a placed point without three finite numbers.
    """
    content = _parse(path)
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or "markups-schema-v1." not in str(content.get("@schema", "")).lower():
        raise _refused(
            path,
            "without a list of markups and the @schema of markups 1.x",
            "save the point list in 3D Slicer as .mrk.json",
        )
    return [point for markup in markups for point in _points(path, markup)]


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise _refused(path, f"of {path.stat().st_size} bytes", f"give one of at most {_LARGEST_BYTES} bytes")
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise _refused(path, f": {error.strerror}", "check the path and its permissions") from None
    except (ValueError, RecursionError) as error:
        raise _refused(path, f": {str(error)[:200]}", "save it again from 3D Slicer") from None


def _points(path: Path, markup: object) -> Iterator[Fiducial]:
    if not isinstance(markup, dict) or markup.get("type") != "Fiducial":
        kind = markup.get("type") if isinstance(markup, dict) else markup
        raise _refused(
            path, f"with a markup of type {str(kind)[:40]!r}", "only point lists (Fiducial) are clicks; save one"
        )
    to_ras = _scale_to_ras(path, markup)
    points = markup.get("controlPoints", [])
    if not isinstance(points, list):
        raise _refused(path, "whose controlPoints are no list", "save it again from 3D Slicer")
    for number, point in enumerate(points, start=1):
        if not isinstance(point, dict):
            raise _refused(path, f"whose point {number} is no object", "save it again from 3D Slicer")
        status = point.get("positionStatus", _PLACED)
        if status in _UNPLACED:
            continue
        if status != _PLACED:
            raise _refused(path, f"whose point {number} is {str(status)[:40]!r}", "save it again from 3D Slicer")
        yield _fiducial(path, number, point, to_ras)


def _scale_to_ras(path: Path, markup: dict[str, Any]) -> tuple[float, float, float]:
    """Return what the three numbers of a position are multiplied with."""
    system = markup.get("coordinateSystem", "LPS")
    unit = markup.get("coordinateUnits", "mm")
    if isinstance(unit, list) and len(unit) == 3 and unit[1] == "UCUM":  # a code: value, scheme, meaning
        unit = unit[0]
    if not isinstance(system, str) or system not in _SIGNS_TO_RAS:
        raise _refused(path, f"in the coordinate system {str(system)[:40]!r}", "save it in LPS or RAS")
    if not isinstance(unit, str) or unit not in _MM_PER_UNIT:
        raise _refused(path, f"in units of {str(unit)[:40]!r}", "save it in millimetres (mm)")
    x, y, z = (sign * _MM_PER_UNIT[unit] for sign in _SIGNS_TO_RAS[system])
    return x, y, z


def _fiducial(path: Path, number: int, point: dict[str, Any], to_ras: tuple[float, float, float]) -> Fiducial:
    label, position = point.get("label", ""), point.get("position")
    if not isinstance(label, str):
        raise _refused(path, f"whose point {number} has a label that is no text", "give it a label in 3D Slicer")
    if not isinstance(position, list) or len(position) != 3 or not all(map(_is_finite, position)):
        raise _refused(
            path,
            f"whose point {number} lies at {str(position)[:80]}",
            "place the point, or delete it; a position is three finite numbers",
        )
    x, y, z = (float(part) * factor for part, factor in zip(position, to_ras, strict=True))
    return Fiducial(label, (x, y, z))


def _is_finite(value: object) -> bool:
    """Say whether a JSON value is a number that a float can hold; NaN is not, nor is true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _refused(path: Path, got: str, do: str) -> FileFormatError:
    return FileFormatError(
        expected="a point list of 3D Slicer (.mrk.json, type Fiducial)",
        got=f"{path.name}{got if got.startswith(':') else f' {got}'}",
        do=do,
    )
