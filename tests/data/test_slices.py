"""A store of slices: read at random, refused when damaged, and never executed."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vesalius.data.slices import FORMAT, MANIFEST, SHARDS, SliceStore, sha256_of
from vesalius.errors import FileFormatError


def write_store(folder: Path) -> Path:
    """Write two shards of three and two slices of different sizes; a third one is not in the manifest."""
    shards = []
    for key, count, size in (("a", 3, (4, 6)), ("b", 2, (5, 3)), ("c", 4, (2, 2))):
        shard = folder / SHARDS / key
        shard.mkdir(parents=True)
        pixels = np.arange(count * size[0] * size[1], dtype=np.int16).reshape(count, *size) + ord(key)
        np.save(shard / "pixels.npy", pixels)
        np.save(shard / "pictures.npy", np.zeros((count, 2, 8, 8), np.uint8))
        facts = {
            "case": f"case {key}",
            "group": "list",
            "numbers": [5 + n for n in range(count)],
            "regions": ["chest"] * count,
            "size": size,
            "spacing_mm": [1.5, 1.4],
            "sha256": {name: sha256_of(shard / name) for name in ("pixels.npy", "pictures.npy")},
        }
        (shard / "shard.json").write_text(json.dumps(facts))
        if key != "c":
            digest = sha256_of(shard / "shard.json")
            shards.append({"key": key, "case": f"case {key}", "group": "list", "slices": count, "sha256": digest})
    content = {"format": FORMAT, "settings": {"plane": "axial"}, "excluded": {}, "refused": [], "shards": shards}
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def test_every_slice_is_read_by_itself_with_what_is_known_of_it(tmp_path: Path) -> None:
    store = SliceStore(write_store(tmp_path))
    assert len(store) == 5
    assert store.cases == ("case a", "case b")
    assert [(s.case, s.number, s.pixels_hu.shape) for s in (store[n] for n in range(5))] == [
        *(("case a", n, (4, 6)) for n in (5, 6, 7)),
        *(("case b", n, (5, 3)) for n in (5, 6)),
    ]
    assert store[1].pixels_hu.dtype == np.int16
    assert store[1].pixels_hu[0, 0] == 24 + ord("a")
    assert store[-1].pixels_hu[0, 0] == 15 + ord("b")
    assert (store[0].spacing_mm, store[0].region, store[0].group) == ((1.5, 1.4), "chest", "list")
    assert [list(store.indices_of(n)) for n in range(2)] == [[0, 1, 2], [3, 4]]
    for index in (5, -6):
        with pytest.raises(IndexError):
            store[index]


def test_the_spacing_of_a_store_is_the_common_one_or_the_median_over_its_slices(tmp_path: Path) -> None:
    write_store(tmp_path)
    assert SliceStore(tmp_path).spacing_mm() == (1.5, 1.4)
    shard = tmp_path / SHARDS / "b" / "shard.json"
    shard.write_text(json.dumps({**json.loads(shard.read_text()), "spacing_mm": [0.7, 2.9]}))
    assert SliceStore(tmp_path).spacing_mm() == (1.5, 1.4), "three slices of five, of one scan of two"
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "settings": {"plane": "axial", "spacing_mm": 2}}))
    assert SliceStore(tmp_path).spacing_mm() == (2.0, 2.0)
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "shards": []}))
    assert SliceStore(tmp_path).spacing_mm() is None


def test_a_slice_is_the_reader_s_own(tmp_path: Path) -> None:
    store = SliceStore(write_store(tmp_path))
    store[0].pixels_hu[:] = 0
    assert store[0].pixels_hu[0, 0] == ord("a")


def test_threads_and_processes_may_share_it(tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(SliceStore(write_store(tmp_path))))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: int(store[n % 5].pixels_hu[0, 0]), range(50)))
    assert found == [int(store[n % 5].pixels_hu[0, 0]) for n in range(50)]


def test_a_sound_store_passes_its_check(tmp_path: Path) -> None:
    assert list(SliceStore(write_store(tmp_path)).check()) == ["a", "b"]


@pytest.mark.parametrize("name", ["pixels.npy", "pictures.npy", "shard.json"])
def test_a_changed_byte_is_found_and_named(tmp_path: Path, name: str) -> None:
    file = write_store(tmp_path) / SHARDS / "b" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(FileFormatError, match=name):
        list(SliceStore(tmp_path).check())


def test_pickled_objects_and_other_shapes_are_refused(tmp_path: Path) -> None:
    pixels = write_store(tmp_path) / SHARDS / "a" / "pixels.npy"
    np.save(pixels, np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError):
        SliceStore(tmp_path)[0]
    np.save(pixels, np.zeros((3, 4, 5), np.int16))
    with pytest.raises(FileFormatError, match="shape"):
        SliceStore(tmp_path)[0]
    pixels.write_bytes(pixels.read_bytes()[:100])
    with pytest.raises(FileFormatError):
        SliceStore(tmp_path)[0]


def test_a_store_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such folder"):
        SliceStore(tmp_path / "nothing")


def test_a_folder_without_a_manifest_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="curate slices"):
        SliceStore(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": "other"}')
    with pytest.raises(FileFormatError):
        SliceStore(tmp_path)
