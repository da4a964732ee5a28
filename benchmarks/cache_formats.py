"""Which store the cache of prepared cases uses: time of a 96^3 window of a 512^3 case, size, time to write.

The case is a real CT (``totalsegmentator-example``) with its labels, interpolated to 512^3, with noise of 15 HU so
that it compresses like a scan. A window's image and labels are read at random places; the system has the file in
its memory, as in the second epoch of a training. One core reads and writes. Each candidate has to give the voxels
back; those that are not installed are left out.

    python benchmarks/cache_formats.py [--side 512] [--window 96] [--times 40]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_linear, resample_points
from vesalius.io.formats import read, read_labels

Box = tuple[slice, ...]
Reader = Callable[[Box], np.ndarray]
CHUNK, BLOCK = 64, 32


def real_case(side: int) -> dict[str, np.ndarray]:
    """Return image (int16) and labels (uint8) of ``side`` voxels along every axis."""
    folder = sides.SHARED_DATA / "totalsegmentator-example"
    image, labels = read(folder / "example_ct.nii.gz"), read_labels(folder / "example_ct_seg117.nii.gz")
    scale = np.diag([*((np.array(image.grid.shape) - 1) / (side - 1)), 1.0])
    target = Grid((side, side, side), image.grid.affine @ scale)
    fine = resample_linear(image.data[0], image.grid, target).numpy()
    fine += np.random.default_rng(0).standard_normal(fine.shape, dtype=np.float32) * 15
    drawn = resample_points(labels.data.astype(np.uint8), labels.grid, target, nearest=True)
    return {"image": np.round(fine).clip(-1024, 3071).astype(np.int16), "labels": drawn}


def npz(path: Path, data: np.ndarray) -> Reader:
    """NumPy's own: compressed whole, read whole."""
    np.savez_compressed(path / "a.npz", data=data)
    return lambda box: np.load(path / "a.npz")["data"][box]


def memmap(path: Path, data: np.ndarray) -> Reader:
    """Not compressed at all."""
    np.save(path / "a.npy", data)
    return lambda box: np.array(np.load(path / "a.npy", mmap_mode="r")[box])


def with_blosc2(codec: str, level: int) -> Callable[[Path, np.ndarray], Reader]:
    """Blosc2, as nnU-Net v2 uses it."""

    def store(path: Path, data: np.ndarray) -> Reader:
        blosc2: Any = importlib.import_module("blosc2")
        settings = {"codec": blosc2.Codec[codec], "clevel": level, "nthreads": 1}
        chunks, blocks = (CHUNK,) * 3, (BLOCK,) * 3
        blosc2.asarray(data, urlpath=str(path / "a.b2nd"), mode="w", chunks=chunks, blocks=blocks, cparams=settings)
        opened = blosc2.open(str(path / "a.b2nd"), mode="r", dparams={"nthreads": 1})
        return lambda box: opened[box]

    return store


def with_zarr(path: Path, data: np.ndarray) -> Reader:
    """Zarr 3 with Zstandard, a file a chunk."""
    zarr: Any = importlib.import_module("zarr")
    stored = zarr.create_array(str(path / "a.zarr"), shape=data.shape, chunks=(CHUNK,) * 3, dtype=data.dtype)
    stored[:] = data
    opened = zarr.open_array(str(path / "a.zarr"), mode="r")
    return lambda box: np.asarray(opened[box])


def with_zstandard(side: int) -> Callable[[Path, np.ndarray], Reader]:
    """Chunks of bytes sorted by significance, one Zstandard frame each, in one file with an index."""

    def store(path: Path, data: np.ndarray) -> Reader:
        zstandard: Any = importlib.import_module("zstandard")
        squeeze, expand = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
        counts = tuple(-(-n // side) for n in data.shape)
        offsets, width = [0], data.itemsize
        with (path / "a.bin").open("wb") as file:
            for at in np.ndindex(counts):
                part = np.ascontiguousarray(data[tuple(slice(side * a, side * a + side) for a in at)])
                planes = part.reshape(-1).view(np.uint8).reshape(-1, width).T
                offsets.append(offsets[-1] + file.write(squeeze.compress(np.ascontiguousarray(planes).tobytes())))
        stored = np.memmap(path / "a.bin", dtype=np.uint8, mode="r")

        def read_box(box: Box) -> np.ndarray:
            result = np.empty([b.stop - b.start for b in box], data.dtype)
            firsts = [b.start // side for b in box]
            for at in np.ndindex(*(-(-b.stop // side) - first for b, first in zip(box, firsts, strict=True))):
                chunk = [first + a for first, a in zip(firsts, at, strict=True)]
                number = int(np.ravel_multi_index(chunk, counts))
                start = [side * c for c in chunk]
                shape = [min(side, n - s) for n, s in zip(data.shape, start, strict=True)]
                raw = expand.decompress(stored[offsets[number] : offsets[number + 1]])
                planes = np.frombuffer(raw, np.uint8).reshape(width, -1)
                part = np.ascontiguousarray(planes.T).view(data.dtype).reshape(shape)
                low = [max(b.start, s) for b, s in zip(box, start, strict=True)]
                high = [min(b.stop, s + n) for b, s, n in zip(box, start, shape, strict=True)]
                inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
                into = tuple(slice(a - w.start, b - w.start) for a, b, w in zip(low, high, box, strict=True))
                result[into] = part[inside]
            return result

        return read_box

    return store


CANDIDATES: dict[str, tuple[str, Callable[[Path, np.ndarray], Reader]]] = {
    "npz": ("numpy", npz),
    "memmap": ("numpy", memmap),
    "blosc2-zstd1": ("blosc2", with_blosc2("ZSTD", 1)),
    "blosc2-zstd5": ("blosc2", with_blosc2("ZSTD", 5)),
    "blosc2-lz4": ("blosc2", with_blosc2("LZ4", 5)),
    "zarr": ("zarr", with_zarr),
    "zstandard-64": ("zstandard", with_zstandard(64)),
    "zstandard-32": ("zstandard", with_zstandard(32)),
}


def measure(
    store: Callable[[Path, np.ndarray], Reader], case: dict[str, np.ndarray], options: Any
) -> dict[str, float]:
    """Return seconds to write, megabytes and median milliseconds of a window, image and labels together."""
    rng = np.random.default_rng(1)
    starts = rng.integers(0, options.side - options.window + 1, (options.times, 3))
    with tempfile.TemporaryDirectory() as name:
        folders = {layer: Path(name) / layer for layer in case}
        begun, readers = time.perf_counter(), {}
        for layer, data in case.items():
            folders[layer].mkdir()
            readers[layer] = store(folders[layer], data)
        write_s = time.perf_counter() - begun
        seconds = []
        for start in starts if "npz" not in store.__name__ else starts[:2]:
            box = tuple(slice(int(a), int(a) + options.window) for a in start)
            begun = time.perf_counter()
            windows = {layer: reader(box) for layer, reader in readers.items()}
            seconds.append(time.perf_counter() - begun)
            assert all(np.array_equal(windows[layer], case[layer][box]) for layer in case)
        stored = sum(file.stat().st_size for file in Path(name).rglob("*") if file.is_file())
    return {"write_s": write_s, "stored_mb": stored / 1e6, "window_ms": 1000 * statistics.median(seconds)}


def main() -> None:
    """Measure every candidate that is installed, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--times", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case, measured = real_case(options.side), {}
    for name, (package, store) in CANDIDATES.items():
        try:
            importlib.import_module(package)
        except ModuleNotFoundError:
            print(f"{name}: {package} is not installed")
            continue
        needs = [line for line in requires(package) or [] if "extra ==" not in line]
        measured[name] = {
            **measure(store, case, options),
            "version": version(package),
            "needs": len(needs),
        }
    columns = list(measured["npz"])
    sides.print_table([["store", *columns], *([name, *row.values()] for name, row in measured.items())])
    sides.write_result("cache_formats", {**vars(options), "threads": 1, "stores": measured})


if __name__ == "__main__":
    main()
