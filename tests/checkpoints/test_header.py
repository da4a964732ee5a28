"""The header of a safetensors file: laid out as the reference library does, and refused where a byte is off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.checkpoints.header import ITEM_BYTES, encode_header, plan_file, read_header
from vesalius.errors import CheckpointError

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.zeros(0, dtype=torch.float16),
    "é": torch.tensor(3.0),
    'quo"te': torch.ones(4, dtype=torch.int64),
}


def _file(path: Path, fields: object, data: bytes = b"", *, raw: bytes | None = None) -> Path:
    text = raw if raw is not None else json.dumps(fields).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_header_equals_the_reference_librarys_byte_for_byte() -> None:
    types = (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16,
        torch.bfloat16, torch.int32, torch.float32, torch.float64, torch.int64,
    )  # fmt: skip
    tensors = {**TENSORS, **{f"z{i}": torch.zeros(i + 1, 3, dtype=dtype) for i, dtype in enumerate(types)}}
    official = safetensors.torch.save(tensors, {"format": "pt"})
    names = {getattr(torch, str(t.dtype).split(".")[1]): t for t in tensors.values()}
    assert len(names) == len(ITEM_BYTES)
    short = {
        torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
        torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64",
    }  # fmt: skip
    planned = plan_file({n: (short[t.dtype], tuple(t.shape)) for n, t in tensors.items()}, {"format": "pt"})
    assert official.startswith(encode_header(planned))
    assert planned.file_bytes == len(official)


def test_a_file_of_the_reference_library_is_read(tmp_path: Path) -> None:
    path = tmp_path / "official.safetensors"
    safetensors.torch.save_file(TENSORS, path, {"format": "pt"})
    header = read_header(path)
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert header.metadata == {"format": "pt"}
    assert header.file_bytes == path.stat().st_size


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED: dict[str, object] = {
    "a type nobody knows": {"a": {**ENTRY, "dtype": "F128"}},
    "a type that is a list": {"a": {**ENTRY, "dtype": []}},
    "a shape that does not fill its bytes": {"a": {**ENTRY, "shape": [3]}},
    "a negative side": {"a": {**ENTRY, "shape": [-2]}},
    "a side that is a truth value": {"a": {**ENTRY, "shape": [True, 2]}},
    "a shape beyond any memory": {"a": {**ENTRY, "shape": [2**40, 2**40]}},
    "offsets before the file": {"a": {**ENTRY, "data_offsets": [-8, 0]}},
    "a gap": {"a": {**ENTRY, "data_offsets": [8, 16]}},
    "an overlap": {"a": ENTRY, "b": ENTRY},
    "bytes nobody owns": {},
    "a field too many": {"a": {**ENTRY, "code": "import os"}},
    "a field too few": {"a": {"dtype": "F32", "shape": [2]}},
    "an entry that is no object": {"a": 5},
    "metadata that is not text": {"__metadata__": {"n": 1}, "a": ENTRY},
    "a list": [1, 2],
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_header_is_refused(tmp_path: Path, what: str) -> None:
    good = _file(tmp_path / "good.safetensors", {"a": ENTRY}, bytes(8))
    assert read_header(good).shapes == {"a": (2,)}
    bad = _file(tmp_path / "bad.safetensors", DAMAGED[what], bytes(8))
    with pytest.raises(CheckpointError, match="sound safetensors"):
        read_header(bad)


@pytest.mark.parametrize(
    "raw",
    [b"{" * 5000, b"[" * 100_000, b'{"a": 1', b"\xff\xfe{}", b'{"a": ' + b"9" * 5000 + b"}", b"{}{}"],
    ids=["braces", "deep", "cut", "utf-16", "huge number", "two"],
)
def test_a_header_that_is_not_json_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(CheckpointError):
        read_header(_file(tmp_path / "bad.safetensors", None, raw=raw))


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    entry = json.dumps(ENTRY).encode()
    twice = b'{"a": ' + entry + b', "a": ' + entry + b"}"
    with pytest.raises(CheckpointError, match="twice"):
        read_header(_file(tmp_path / "bad.safetensors", None, bytes(8), raw=twice))


def test_a_length_beyond_the_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="longer than the file"):
        read_header(path)


@given(cut=st.integers(0, 200))
def test_every_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    whole = safetensors.torch.save(TENSORS, {"format": "pt"})
    path = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    path.write_bytes(whole[: min(cut * len(whole) // 200, len(whole) - 1)])
    with pytest.raises(CheckpointError):
        read_header(path)
