"""Tensors in safetensors files, and a model as a folder of ``model.safetensors`` and ``spec.json``.

Written beside the target and renamed, so a file is complete or absent. Read tensor by tensor straight into the
type asked for: a bf16 load of the 872 MB fp32 VISTA3D file holds 436 MB and one tensor more, where mapping the
file or converting a loaded state dict holds both copies. That is why the bytes are read here and not through the
``safetensors`` package; tests hold the files equal to the package's, byte for byte, and read each other's.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vesalius.checkpoints.header import SPEC_KEY, Header, encode_header, plan_file, read_header
from vesalius.checkpoints.store import MODEL_FILE, SPEC_FILE
from vesalius.errors import CheckpointError, DiskError
from vesalius.io.atomic import replacing
from vesalius.spec import ModelSpec

_TYPES: Mapping[str, torch.dtype] = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def write_model(
    folder: Path, state: Mapping[str, Tensor], spec: ModelSpec, *, dtype: torch.dtype | None = None
) -> None:
    """Write a model folder that ``load_model`` reads.

    The spec also travels inside the weights file. A model of ours that is replaced is at every moment a whole
    model, the old one or the new one: the old ``spec.json`` goes first, and the weights bring their own until the
    new one stands.

    Args:
        folder: Made if absent.
        state: The network's own state dict (our names).
        spec: What the network expects and is.
        dtype: Type to store floating tensors in; by default their own.

    Raises:
        DiskError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SPEC_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(
            expected=f"to write into {folder}", got=str(error), do="name a folder you may write to"
        ) from None
    text = spec.to_json()
    write_tensors(folder / MODEL_FILE, state, metadata={"format": "pt", SPEC_KEY: text}, dtype=dtype)
    with replacing(folder / SPEC_FILE) as part:
        part.write_text(text + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str], dtype: torch.dtype | None = None
) -> None:
    """Write tensors to a safetensors file: complete, or not at all.

    Args:
        path: The file; its folder must exist.
        tensors: Name -> tensor, of any layout and device.
        metadata: Free text for the header; ``{"format": "pt"}`` is what PyTorch's readers expect.
        dtype: Type to store floating tensors in; by default their own.

    Raises:
        CheckpointError: If a tensor has a type the format does not know.
        DiskError: If the file cannot be written.
    """
    header = plan_file({name: _stored_as(name, tensor, dtype) for name, tensor in tensors.items()}, metadata)
    with replacing(path) as part, part.open("wb") as file:
        file.write(encode_header(header))
        for name, entry in header.tensors.items():
            file.write(_bytes_of(tensors[name].detach().to("cpu", _TYPES[entry.dtype]).contiguous()))


def read_tensors(
    path: Path,
    names: Mapping[str, str],
    *,
    like: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    header: Header | None = None,
) -> dict[str, Tensor]:
    """Read tensors one after the other, each straight into the type, layout and device asked for.

    Args:
        path: A safetensors file.
        names: Name in the file -> name in the result; tensors of the file that are not named are skipped unread.
        like: Name in the result -> a tensor (of the meta device, say) whose shape, type and layout it must have;
            by default those of the file.
        device: Where the tensors go.
        header: The file's header, where it was read before.

    Raises:
        CheckpointError: If the file is damaged, lacks a name, or has another shape under it.
    """
    header = header or read_header(path)
    chosen = {name: entry for name, entry in header.tensors.items() if name in names}
    _check_fit(path, header, names, like)
    # One staging buffer, made once: allocating and freeing one per tensor leaves holes the size of the weights.
    staging = torch.empty(max((entry.size_bytes for entry in chosen.values()), default=0), dtype=torch.uint8)
    result: dict[str, Tensor] = {}
    with path.open("rb") as file:
        for name, entry in chosen.items():
            stored = staging[: entry.size_bytes]
            file.seek(header.data_start + entry.start)
            if entry.size_bytes and file.readinto(_bytes_of(stored)) != entry.size_bytes:
                raise CheckpointError(
                    expected=f"{entry.size_bytes:,} bytes of {name}", got="fewer", do=f"copy {path} again"
                )
            tensor = stored.view(_TYPES[entry.dtype]).reshape(entry.shape)
            template = tensor if like is None else like[names[name]]
            result[names[name]] = torch.empty_like(template, device=device, requires_grad=False).copy_(tensor)
    return result


def _check_fit(path: Path, header: Header, names: Mapping[str, str], like: Mapping[str, Tensor] | None) -> None:
    wrong = [f"{name} (absent)" for name in names if name not in header.tensors]
    if like is not None:
        wrong += [
            f"{name} {list(header.tensors[name].shape)} instead of {list(like[ours].shape)}"
            for name, ours in names.items()
            if name in header.tensors and header.tensors[name].shape != tuple(like[ours].shape)
        ]
    if wrong:
        raise CheckpointError(
            expected=f"{len(names)} tensors of known names and shapes in {path}",
            got=f"{len(wrong)} that do not fit: {', '.join(sorted(wrong)[:8])}",
            do="take the weights that belong to this model",
        )


def _stored_as(name: str, tensor: Tensor, dtype: torch.dtype | None) -> tuple[str, tuple[int, ...]]:
    stored = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    if stored not in _NAMES:
        raise CheckpointError(
            expected=f"tensors of {', '.join(_NAMES.values())}",
            got=f"{name} of {stored}",
            do="convert it before it is saved",
        )
    return _NAMES[stored], tuple(tensor.shape)


def _bytes_of(tensor: Tensor) -> memoryview:
    if sys.byteorder != "little":
        raise CheckpointError(
            expected="a little-endian processor, as the format is", got=sys.byteorder, do="convert elsewhere"
        )
    return tensor.reshape(-1).view(torch.uint8).numpy().data
