"""Clicks in files: ``clicks.json``, and what the label of a fiducial says about a click.

``{"clicks": [{"target": "liver" | "new:lesion", "positive": true, "ras_mm": [x, y, z]}, ...]}``, or ``"voxel":
[i, j, k]`` instead of ``ras_mm``. The reader is strict: a key that is missing, unknown or there twice is an error,
because a click that is half understood changes a mask without anybody noticing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from vesalius.errors import DiskError, FileFormatError
from vesalius.labels.spelling import is_text
from vesalius.prompts.types import PointPrompt

_LARGEST_BYTES = 8 << 20
"""A click takes about 80 bytes: 100,000 of them, where a person makes some hundred."""
_SPACES = ("ras_mm", "voxel")
_FORM = (
    '{"target": "liver", "positive": true, "ras_mm": [12.0, -40.5, 88.0]} or "voxel": [i, j, k] instead of ras_mm'
)
_NUMBERED = re.compile(r"(?P<name>.+)-\d+")
"""What 3D Slicer makes of the name of a list: ``liver`` -> ``liver-1`` (label format ``%N-%d``)."""
_UNNAMED = re.compile(r"(F(_\d+)?)?")
"""Lists that nobody named are called F, F_1, F_2..."""


def read_clicks(path: Path) -> list[PointPrompt]:
    """Read ``clicks.json``.

    Args:
        path: The file.

    Returns:
        The clicks, in the order of the file, which is the order in which they are replayed. Whether their targets
        and places make sense is for whoever has a model and a volume to say.

    Raises:
        FileFormatError: If it cannot be read, or is anything but the form above.
    """
    content = _parse(path)
    if not isinstance(content, dict) or set(content) != {"clicks"} or not isinstance(content["clicks"], list):
        raise _malformed(path, f"{path.name} with {_kind(content)}", '{"clicks": [...]} and nothing else')
    return [_click(path, number, entry) for number, entry in enumerate(content["clicks"], start=1)]


def write_clicks(path: Path, prompts: Iterable[PointPrompt]) -> None:
    """Write ``clicks.json``, a click a line; ``read_clicks`` gives the same prompts back.

    Raises:
        DiskError: If it cannot be written; a file that was there is then still there.
    """
    lines = ",\n".join("    " + json.dumps(_as_object(prompt), allow_nan=False) for prompt in prompts)
    text = f'{{\n  "clicks": [\n{lines}\n  ]\n}}\n' if lines else '{"clicks": []}\n'
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise DiskError(
            expected=f"to write {path.name} into {path.parent}",
            got=error.strerror or str(error),
            do="name an existing folder that may be written to",
        ) from error


def click_of_fiducial(
    label: str, ras_mm: tuple[float, float, float], *, default_target: str | None = None
) -> PointPrompt:
    """Return the click a labelled point in the world means.

    The label is a target, then ``+`` or ``-``; without a sign the click is positive: ``liver``, ``liver+``,
    ``liver-``, ``new:lesion-``. A number that 3D Slicer appends is dropped first (``liver-1``, ``liver--2``). A
    label that names nothing (empty, a sign alone, Slicer's ``F-1``) takes the default target.

    Args:
        label: What stands beside the point.
        ras_mm: Where it is.
        default_target: Target of labels that name none.

    Raises:
        FileFormatError: If the label names no target and there is no default.
    """
    text = label.strip()
    numbered = _NUMBERED.fullmatch(text)
    text = numbered["name"] if numbered and not _UNNAMED.fullmatch(text) else text
    name = text.removesuffix("-").removesuffix("+") if text[-1:] in ("+", "-") else text
    target = default_target if _UNNAMED.fullmatch(name.strip()) else name.strip()
    if not target or not is_text(target):
        raise FileFormatError(
            expected="fiducials whose labels say what they belong to, such as liver, liver- or new:lesion",
            got=f"a fiducial labelled {label!r}" + (f", of {target!r}" if target else ""),
            do="rename it, or say with --target what such fiducials belong to",
        )
    return PointPrompt(target=target, positive=not text.endswith("-"), ras_mm=ras_mm)


def _parse(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise _malformed(path, f"{path.name} of {size} bytes", f"at most {_LARGEST_BYTES} bytes of clicks")
        return json.loads(path.read_text("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except OSError as error:
        raise FileFormatError(
            expected="a file of clicks that can be read", got=f"{path}: {error.strerror}", do="check the path"
        ) from None
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"{path.name}: {str(error)[:200]}", "clicks as JSON in UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _click(path: Path, number: int, entry: object) -> PointPrompt:
    where = f"click {number} of {path.name}"
    if not isinstance(entry, dict):
        raise _malformed(path, f"{where} is {_kind(entry)}")
    spaces = [space for space in _SPACES if space in entry]
    if len(spaces) != 1:
        raise _malformed(path, f"{where} with {' and '.join(spaces) or 'no place'}", "ras_mm or voxel, one of them")
    wanted = {"target", "positive", spaces[0]}
    if set(entry) != wanted:
        wrong = [*(f"unknown {key!r}" for key in sorted(set(entry) - wanted)),
                 *(f"no {key!r}" for key in sorted(wanted - set(entry)))]  # fmt: skip
        raise _malformed(path, f"{where} with {', '.join(wrong)}")
    if not isinstance(entry["target"], str) or not entry["target"].strip() or not is_text(entry["target"]):
        raise _malformed(path, f"{where} with {_kind(entry['target'])} as its target", "a target such as 'liver'")
    if not isinstance(entry["positive"], bool):
        raise _malformed(path, f"{where} with {_kind(entry['positive'])} as positive", "positive: true or false")
    place = _place(path, where, entry[spaces[0]])
    if spaces[0] == "voxel":
        return PointPrompt(target=entry["target"], positive=entry["positive"], voxel=place)
    return PointPrompt(target=entry["target"], positive=entry["positive"], ras_mm=place)


def _place(path: Path, where: str, value: object) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_finite(part) for part in value):
        raise _malformed(path, f"{where} at {str(value)[:80]}", "three finite numbers")
    i, j, k = (float(part) for part in value)
    return i, j, k


def _is_finite(value: object) -> bool:
    """Say whether a JSON value is a number that a float can hold; NaN is not, nor is true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _as_object(prompt: PointPrompt) -> Mapping[str, object]:
    place = {"ras_mm": prompt.ras_mm} if prompt.voxel is None else {"voxel": prompt.voxel}
    return {"target": prompt.target, "positive": prompt.positive, **place}


def _kind(value: object) -> str:
    """Say in JSON's words what a value is."""
    if isinstance(value, dict):
        return f"an object of {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:80]


def _malformed(path: Path, got: str, expected: str = _FORM) -> FileFormatError:
    return FileFormatError(
        expected=expected,
        got=got,
        do=f"mend {path.name}; each click is {_FORM}",
    )
