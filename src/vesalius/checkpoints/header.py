"""The header of a safetensors file: which tensors it holds, of what type and shape, and at which bytes.

No torch here, so that ``vesalius models info FILE`` answers at once and a file's size is known before it is
written. The format (https://github.com/huggingface/safetensors) is eight bytes of header length, little endian,
a JSON header, then the tensors without gaps. Two deliberate choices: the order of the tensors is the reference
library's (widest type first, then by name), so that our files equal its files byte for byte; and reading is as
strict as its Rust reader, so that a damaged or hostile file is refused before anything is allocated.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from vesalius.errors import CheckpointError

ITEM_BYTES: Mapping[str, int] = {
    "I64": 8,
    "F64": 8,
    "F32": 4,
    "I32": 4,
    "BF16": 2,
    "F16": 2,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Element types we read and write, by the names the format gives them, in the order they are laid out."""

SPEC_KEY = "vesalius.spec"
"""The metadata entry that carries the spec inside the file, so that a single file is a whole model."""

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: its type, its shape, and its bytes counted from the end of the header."""

    dtype: str
    shape: Shape
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """How many bytes the tensor takes."""
        return self.stop - self.start


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds; ``tensors`` is in the order of the bytes."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int
    """Byte of the file at which the first tensor begins."""

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self.data_start + max((entry.stop for entry in self.tensors.values()), default=0)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Name -> shape."""
        return {name: entry.shape for name, entry in self.tensors.items()}


def plan_file(tensors: Mapping[str, tuple[str, Shape]], metadata: Mapping[str, str]) -> Header:
    """Lay out a file before it is written.

    Args:
        tensors: Name -> (type as the format names it, shape).
        metadata: Free text stored in the header.

    Returns:
        The header of the file that would be written; ``file_bytes`` is its exact size.
    """
    entries: dict[str, TensorEntry] = {}
    start = 0
    order = list(ITEM_BYTES)
    for name in sorted(tensors, key=lambda name: (order.index(tensors[name][0]), name)):
        dtype, shape = tensors[name]
        stop = start + prod(shape) * ITEM_BYTES[dtype]
        entries[name] = TensorEntry(dtype, tuple(shape), start, stop)
        start = stop
    header = Header(entries, dict(metadata), 0)
    return Header(entries, dict(metadata), len(encode_header(header)))


def encode_header(header: Header) -> bytes:
    """Return the bytes that stand before the tensors, padded to a multiple of eight."""
    fields: dict[str, Any] = {"__metadata__": dict(header.metadata)} if header.metadata else {}
    for name, entry in header.tensors.items():
        fields[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.stop],
        }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        CheckpointError: If it is no safetensors file, or is damaged: every byte must be accounted for.
    """
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if file_bytes < _LENGTH_BYTES + 2 or length > min(_MAX_HEADER_BYTES, file_bytes - _LENGTH_BYTES):
                raise _damaged(path, "a header longer than the file")
            text = file.read(length)
    except OSError as error:
        raise _damaged(path, str(error)) from None
    fields = _parse(path, text)
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "metadata that is not text")
    entries = {name: _entry(path, name, field) for name, field in fields.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    header = Header(ordered, metadata, _LENGTH_BYTES + length)
    _check_gapless(path, header, file_bytes)
    return header


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError("a name stands twice")
        return fields

    try:
        fields = json.loads(text.decode(), object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise _damaged(path, "a header that is not an object")
    return fields


def _entry(path: Path, name: str, field: object) -> TensorEntry:
    if not isinstance(field, dict) or set(field) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"an unreadable entry for {name!r}")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _damaged(path, f"{name!r} of type {dtype!r}, which is none of {', '.join(ITEM_BYTES)}")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2:
        raise _damaged(path, f"{name!r} with shape {shape!r} at {offsets!r}")
    if offsets[1] - offsets[0] != prod(shape) * ITEM_BYTES[dtype]:
        raise _damaged(path, f"{name!r}, whose shape {shape} does not fill its bytes {offsets}")
    return TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_gapless(path: Path, header: Header, file_bytes: int) -> None:
    expected = 0
    for name, entry in header.tensors.items():
        if entry.start != expected:
            raise _damaged(path, f"a gap or an overlap before {name!r}")
        expected = entry.stop
    if header.file_bytes != file_bytes:
        raise _damaged(path, f"{file_bytes:,} bytes where its header says {header.file_bytes:,}")


def _damaged(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        expected=f"a sound safetensors file at {path}",
        got=got,
        do="download or copy the file again and compare its size and SHA-256 with the publisher's",
    )
