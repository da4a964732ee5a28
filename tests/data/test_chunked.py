"""Arrays on disk: any box comes back exactly, nothing else is read, and damage is said."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesalius.data import chunked
from vesalius.data.chunked import ChunkedArray, open_chunked, write_chunked
from vesalius.errors import FileFormatError, MissingExtraError, UnsafeFileError
from vesalius.shapes import Voxels

SHAPE = (70, 35, 130)
DATA = np.random.default_rng(0).integers(-1024, 3000, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chunked") / "image.b2nd"
    write_chunked(path, np.asfortranarray(DATA))
    return path


@given(starts=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)), size=st.integers(1, 70))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_comes_back_exactly(path: Path, starts: tuple[int, ...], size: int) -> None:
    stored = open_chunked(path)
    assert isinstance(stored, Voxels)
    assert (stored.shape, stored.dtype) == (SHAPE, np.int16)
    box = tuple(slice(start, min(start + size, n)) for start, n in zip(starts, SHAPE, strict=True))
    assert np.array_equal(stored[box], DATA[box])


def test_what_is_read_by_slices_lies_in_flat_blocks(path: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat.b2nd"
    write_chunked(flat, DATA, is_flat=True)
    stored = open_chunked(flat)
    assert np.array_equal(np.asarray(stored), DATA)
    assert np.array_equal(stored[:, :, 17:19], DATA[:, :, 17:19])
    blosc2 = importlib.import_module("blosc2")
    assert (blosc2.open(str(flat)).blocks, blosc2.open(str(path)).blocks) == ((64, 35, 4), (32, 32, 32))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_other_number_types_are_kept(tmp_path: Path, dtype: type) -> None:
    data = np.random.default_rng(0).integers(0, 200, (3, 4, 5)).astype(dtype)
    write_chunked(tmp_path / "a.b2nd", data)
    back = np.asarray(open_chunked(tmp_path / "a.b2nd"))
    assert back.dtype == dtype
    assert np.array_equal(back, data)


def test_a_box_is_read_without_the_rest(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 : len(content) * 3 // 4 + 64] = bytes(64)  # a chunk far from the first
    damaged = tmp_path / "damaged.b2nd"
    damaged.write_bytes(content)
    box = (slice(0, 8), slice(0, 8), slice(0, 8))
    assert np.array_equal(open_chunked(damaged)[box], DATA[box])


def test_it_can_be_handed_to_workers_and_threads(path: Path) -> None:
    stored = pickle.loads(pickle.dumps(open_chunked(path)))
    boxes = [(slice(a, a + 20), slice(0, 35), slice(2 * a, 2 * a + 20)) for a in range(0, 50, 2)]
    with ThreadPoolExecutor(4) as pool:
        for box, part in zip(boxes, pool.map(stored.__getitem__, boxes), strict=True):
            assert np.array_equal(part, DATA[box])


def test_nothing_stays_open_between_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, open_one = [], chunked._open

    def noted(path: Path) -> object:
        array = open_one(path)
        opened.append(weakref.ref(array))
        return array

    monkeypatch.setattr(chunked, "_open", noted)
    stored = open_chunked(path)
    for start in (0, 5):
        assert stored[start : start + 2, :3, :3].shape == (2, 3, 3)
    assert len(opened) == 3
    assert not any(array() for array in opened)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.b2nd").write_bytes(b"something else, and long enough to be read as a header" * 9)
    for name in ("no.b2nd", "gone.b2nd"):
        with pytest.raises(FileFormatError, match="cache"):
            open_chunked(tmp_path / name)


def test_a_file_that_carries_code_is_refused_and_nothing_is_executed(tmp_path: Path) -> None:
    blosc2 = pytest.importorskip("blosc2")
    path, trace = tmp_path / "image.b2nd", tmp_path / "executed"
    source = f"open({str(trace)!r}, 'w').close()\ndef f(inputs, output, offset):\n    output[:] = 0\n"
    function = importlib.import_module("blosc2.lazyexpr").LazyArrayEnum.UDF.value
    array = blosc2.zeros((2, 2, 2), dtype=np.int16, urlpath=str(path), mode="w", meta={"LazyArray": function})
    array.schunk.vlmeta["_LazyArray"] = {"UDF": source, "operands": {}, "name": "f"}
    with contextlib.suppress(TypeError, ValueError):
        blosc2.open(str(path), mode="r")
    assert trace.exists()  # it does execute, where it is let
    trace.unlink()
    with pytest.raises(UnsafeFileError, match="LazyArray"):
        open_chunked(path)
    with pytest.raises(UnsafeFileError):  # nor does a file that was exchanged since
        ChunkedArray(path, (2, 2, 2), np.dtype(np.int16))[:, :, :]
    assert not trace.exists()


@pytest.mark.parametrize("name", ["proxy-source", "anything"])
def test_a_file_that_leads_to_another_or_says_more_than_an_array_is_refused(
    path: Path, tmp_path: Path, name: str
) -> None:
    blosc2 = pytest.importorskip("blosc2")
    said = {name: {"local_abspath": str(path), "urlpath": None, "caterva2_env": False}}
    blosc2.zeros((2, 2, 2), dtype=np.int16, urlpath=str(tmp_path / "a.b2nd"), mode="w", meta=said)
    with pytest.raises(UnsafeFileError, match=name):
        open_chunked(tmp_path / "a.b2nd")


def test_chunks_that_are_no_array_of_numbers_are_refused(tmp_path: Path) -> None:
    blosc2 = pytest.importorskip("blosc2")
    blosc2.SChunk(chunksize=100, data=bytes(100), urlpath=str(tmp_path / "a.b2nd"), mode="w")
    blosc2.asarray(np.zeros(3, "S4"), urlpath=str(tmp_path / "b.b2nd"), mode="w")
    for name in ("a.b2nd", "b.b2nd"):
        with pytest.raises(UnsafeFileError, match="plain array"):
            open_chunked(tmp_path / name)


def test_without_blosc2_the_line_to_type_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blosc2", None)
    with pytest.raises(MissingExtraError, match=r"vesalius\[train\]"):
        chunked.write_chunked(tmp_path / "a.b2nd", DATA)
