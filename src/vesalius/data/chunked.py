"""ChunkedArray: an array on disk, compressed in chunks, of which a box can be read without the rest.

Stored with Blosc2 (``.b2nd``), as nnU-Net v2 does. Which of the libraries, codec and chunk size was measured:
``benchmarks/cache_formats.py``. A cache may come from elsewhere, and ``blosc2.open`` executes Python source that it
finds in a file's metadata and follows a file to others; so files are opened one step below it, as plain arrays.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vesalius.errors import FileFormatError, MissingExtraError, UnsafeFileError, install_line

CHUNK_SIDE = 64
"""Voxels of a chunk's side: what is decompressed at least."""
BLOCK_SIDE = 32
"""Voxels of a block's side, the unit inside a chunk that a read can do with."""
FLAT_BLOCK = (64, 64, 4)
"""The same of an array that is read by slices along its last axis: of a cube of 32 voxels one in 32 would be used.
Windows of 896 pixels from slices of 512 were cut in 69 to 87 ms, from cubes in 91 to 140 (one core, one run)."""


class ChunkedArray:
    """An array on disk; indexing it reads the chunks that are touched, and gives a plain array.

    Opened anew for every read, which takes 0.2 ms: kept open, each of a list's thousand arrays would hold 0.4 MB in
    every thread that has read it.

    Args:
        path: A file that ``write_chunked`` wrote.
        shape: Of the array.
        dtype: Of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(_open(self.path)[box])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on disk cannot be given without a copy")
        return self[tuple(slice(None) for _ in self.shape)].astype(dtype or self.dtype, copy=False)


def write_chunked(path: Path, data: np.ndarray, *, is_flat: bool = False) -> None:
    """Write an array, in chunks, losslessly.

    Args:
        path: The file.
        data: Three axes.
        is_flat: It will be read by slices along the last axis, one or a few at once.

    Raises:
        MissingExtraError: If Blosc2 is not installed.
    """
    blosc2 = _blosc2()
    chunks = tuple(min(CHUNK_SIDE, side) for side in data.shape)
    wanted = FLAT_BLOCK if is_flat else (BLOCK_SIDE,) * data.ndim
    blocks = tuple(min(block, side) for block, side in zip(wanted, chunks, strict=True))
    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1}
    blosc2.asarray(
        np.ascontiguousarray(data), urlpath=str(path), mode="w", chunks=chunks, blocks=blocks, cparams=settings
    )


def open_chunked(path: Path) -> ChunkedArray:
    """Return an array that ``write_chunked`` wrote; nothing of it is read yet.

    Raises:
        FileFormatError: If it is not such a file.
        UnsafeFileError: If it is one that could do more than hold numbers.
        MissingExtraError: If Blosc2 is not installed.
    """
    array = _open(path)
    return ChunkedArray(path, tuple(array.shape), array.dtype)


def _open(path: Path) -> Any:
    """Open a file without ``blosc2.open``, whose last step acts on metadata: it builds lazy arrays and proxies."""
    blosc2 = _blosc2()
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        threads = blosc2.DParams(nthreads=1)
        array = blosc2.blosc2_ext.open(str(path), "r", 0, dparams=threads)
        chunks = getattr(array, "schunk", array)
        metadata = {*chunks.meta.keys(), *chunks.vlmeta}
        is_plain = metadata == {"b2nd"} and array.dtype.kind in "iuf"
    except (OSError, RuntimeError, ValueError, SyntaxError) as error:
        raise FileFormatError(
            expected=f"an array of a cache at {path}",
            got=(str(error).splitlines() or ["nothing"])[0],
            do="delete its folder; it is made again",
        ) from None
    if not is_plain:
        raise UnsafeFileError(
            expected=f"a plain array of numbers at {path}, as the cache keeps them",
            got=f"a Blosc2 file with {', '.join(sorted(metadata)) or 'no array'}, which Vesalius did not write",
            do="find out who put it there; then delete its folder; it is made again",
        )
    return array


def _blosc2() -> ModuleType:
    try:
        return importlib.import_module("blosc2")
    except ImportError:
        raise MissingExtraError(
            expected="Blosc2, which the cache of prepared cases is compressed with",
            got="a Python without it",
            do=install_line("train"),
        ) from None
