"""Edits: everything a user can do to a session, and each as one JSON object of the journal."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, assert_never

import numpy as np

from vesalius.errors import VesaliusError
from vesalius.geometry.boxes import Box, Triple
from vesalius.geometry.grid import Grid
from vesalius.geometry.packed_mask import PackedMask
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt, Prompt


@dataclass(frozen=True)
class AddPrompt:
    """Say something more."""

    prompt_id: int
    """Names the prompt from now on; never used twice in a session."""
    prompt: Prompt


@dataclass(frozen=True)
class RemovePrompt:
    """Take back a prompt."""

    prompt_id: int


@dataclass(frozen=True)
class MovePrompt:
    """Put another prompt in the place of an earlier one."""

    prompt_id: int
    prompt: Prompt


@dataclass(frozen=True)
class Predict:
    """Compute what the prompts change."""


@dataclass(frozen=True)
class Lock:
    """Keep a structure as it is now."""

    name: str


@dataclass(frozen=True)
class Unlock:
    """Let a structure change again."""

    name: str


@dataclass(frozen=True)
class Rename:
    """Give a structure another name."""

    name: str
    new_name: str


@dataclass(frozen=True)
class Accept:
    """Make what is seen the base of what follows."""


@dataclass(frozen=True)
class Undo:
    """Go back to the state before the last edit."""


@dataclass(frozen=True)
class Redo:
    """Take back an undo."""


PromptEdit = AddPrompt | RemovePrompt | MovePrompt
"""Edits that compute nothing: they may arrive while a prediction runs."""

Edit = PromptEdit | Predict | Lock | Unlock | Rename | Accept | Undo | Redo


def edit_to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as a JSON object; ``edit_from_json`` gives it back."""
    match edit:
        case AddPrompt():
            return {"edit": "add", "id": edit.prompt_id, "prompt": prompt_to_json(edit.prompt)}
        case RemovePrompt():
            return {"edit": "remove", "id": edit.prompt_id}
        case MovePrompt():
            return {"edit": "move", "id": edit.prompt_id, "prompt": prompt_to_json(edit.prompt)}
        case Lock() | Unlock() | Rename() | Predict() | Accept() | Undo() | Redo():
            return {"edit": type(edit).__name__.lower(), **asdict(edit)}
        case _:
            assert_never(edit)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Edit]] = {
    "add": lambda fields: AddPrompt(int(fields["id"]), prompt_from_json(fields["prompt"])),
    "remove": lambda fields: RemovePrompt(int(fields["id"])),
    "move": lambda fields: MovePrompt(int(fields["id"]), prompt_from_json(fields["prompt"])),
    "predict": lambda _: Predict(),
    "lock": lambda fields: Lock(str(fields["name"])),
    "unlock": lambda fields: Unlock(str(fields["name"])),
    "rename": lambda fields: Rename(str(fields["name"]), str(fields["new_name"])),
    "accept": lambda _: Accept(),
    "undo": lambda _: Undo(),
    "redo": lambda _: Redo(),
}


def edit_from_json(fields: Mapping[str, Any]) -> Edit:
    """Read an edit.

    Raises:
        ValueError: If the object is not what ``edit_to_json`` returns.
    """
    try:
        return _READERS[fields["edit"]](fields)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, zlib.error, VesaliusError) as error:
        raise ValueError(f"no edit: {error!r}") from None


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as a JSON object; the bits of a mask are compressed."""
    match prompt:
        case ClassPrompt():
            return {"class": prompt.target}
        case PointPrompt():
            place = {"ras_mm": prompt.ras_mm} if prompt.voxel is None else {"voxel": prompt.voxel}
            return {"target": prompt.target, "positive": prompt.positive, **place}
        case MaskPrompt():
            return {
                "mask": prompt.target,
                "box": [prompt.packed.box.start, prompt.packed.box.stop],
                "bits": base64.b64encode(prompt.packed.bits).decode("ascii"),
                "shape": prompt.grid.shape,
                "affine": prompt.grid.affine.tolist(),
            }
        case _:
            assert_never(prompt)


def prompt_from_json(fields: Mapping[str, Any]) -> Prompt:
    """Read a prompt that ``prompt_to_json`` wrote."""
    if "class" in fields:
        return ClassPrompt(target=str(fields["class"]))
    if "mask" in fields:
        start, stop, shape = (_triple(ends) for ends in (*fields["box"], fields["shape"]))
        packed = PackedMask(Box(start, stop), base64.b64decode(fields["bits"]))
        grid = Grid(shape, np.asarray(fields["affine"], dtype=np.float64))
        return MaskPrompt(target=str(fields["mask"]), mask=packed.within(Box((0, 0, 0), grid.shape)), grid=grid)
    name = "ras_mm" if "ras_mm" in fields else "voxel"
    i, j, k = (float(part) for part in fields[name])
    return PointPrompt(target=str(fields["target"]), positive=bool(fields["positive"]), **{name: (i, j, k)})


def _triple(values: Sequence[int]) -> Triple:
    i, j, k = (int(value) for value in values)
    return i, j, k
