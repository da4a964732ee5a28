"""SliceStore: CT slices on disk, any of them at once, with a manifest of hashes; what pretraining learns from.

``curation.slice_factory`` makes it; nothing here writes. A store is a folder::

    manifest.json            settings, the shards to learn from with their hashes, what was refused and why
    checked.json             of shards found as curated, sizes and times of change then (``pretraining.course``)
    shards/<key>/shard.json  one scan: its slices, their size and spacing, the hashes of the two files beside it
    shards/<key>/pixels.npy  Hounsfield units, int16 [n h w]
    shards/<key>/pictures.npy  small pictures of the slices, by which they are known again (``data.likeness``)

Files are plain arrays and JSON: reading them executes nothing. A shard that the manifest does not name, because it
is not finished or shows an evaluation case, does not exist for a reader.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from jaxtyping import Int16

from vesalius.errors import FileFormatError
from vesalius.geometry.planes import Plane

FORMAT = "vesalius slices 1"
MANIFEST = "manifest.json"
SHARDS = "shards"
Region = Literal["head-neck", "chest", "abdomen-pelvis", "limb", "unknown"]

_SHARDS_AT_HAND = 1024


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """One slice.

    Args:
        pixels_hu: Hounsfield units; rows run down and columns to the right as ``geometry.planes`` says.
        case: Name of its scan.
        group: Name of the list that the scan comes from.
        number: Which slice of its scan, counted along the third letter of ``geometry.planes``.
        spacing_mm: Between rows, and between columns.
        region: What part of the body it shows, by simple rules that often err; unknown of planes but the axial one.
    """

    pixels_hu: Int16[np.ndarray, "h w"] = field(repr=False)
    case: str
    group: str
    number: int
    spacing_mm: tuple[float, float]
    region: Region


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The slices of one scan, without their pixels.

    Args:
        folder: Where they lie.
        case: Name of the scan.
        group: Name of its list.
        numbers: Which slices of the scan these are.
        regions: What each shows.
        size: Rows and columns.
        spacing_mm: Between rows, and between columns.
        sha256: File -> its hash.
    """

    folder: Path
    case: str
    group: str
    numbers: tuple[int, ...]
    regions: tuple[Region, ...]
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    sha256: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Shard:
        """Read ``shard.json``.

        Raises:
            FileFormatError: If it is not there, or not what a factory writes.
        """
        try:
            facts = json.loads((folder / "shard.json").read_text("utf-8"))
            (height, width), (row_mm, column_mm) = facts["size"], facts["spacing_mm"]
            return cls(
                folder=folder,
                case=str(facts["case"]),
                group=str(facts["group"]),
                numbers=tuple(map(int, facts["numbers"])),
                regions=tuple(facts["regions"]),
                size=(int(height), int(width)),
                spacing_mm=(float(row_mm), float(column_mm)),
                sha256={str(file): str(digest) for file, digest in facts["sha256"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder, str(error)) from None

    def pixels(self, index: int) -> Int16[np.ndarray, "h w"]:
        """Return one slice, a copy.

        Raises:
            FileFormatError: If the file is damaged.
        """
        return np.array(self._array("pixels.npy", np.int16, self.size)[index])

    def pictures(self) -> np.ndarray:
        """Return the small pictures of all slices, uint8 ``[n 2 h w]``.

        Raises:
            FileFormatError: If the file is damaged.
        """
        return np.array(self._array("pictures.npy", np.uint8, None))

    def _array(self, name: str, dtype: type, size: tuple[int, int] | None) -> np.ndarray:
        try:
            array = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(self.folder, f"{name}: {error}") from None
        is_right = array.dtype == dtype and len(array) == len(self.numbers)
        if not is_right or (size is not None and array.shape[1:] != size):
            raise _damaged(self.folder, f"{name} with {array.dtype} of shape {array.shape}")
        return np.asarray(array)

    def check(self) -> None:
        """Read everything and compare hashes.

        Raises:
            FileFormatError: If a file is not the one that was written.
        """
        for name, digest in self.sha256.items():
            if sha256_of(self.folder / name) != digest:
                raise _damaged(self.folder, f"{name} of {self.case}, whose contents have changed")


class SliceStore:
    """Slices of many scans; ``store[7]`` reads one. May be shared by threads, and handed to processes.

    Args:
        folder: What ``vesalius curate slices`` wrote.

    Raises:
        FileFormatError: If there is no manifest, or it is no store's.

    Example:
        >>> store = SliceStore(Path("slices"))  # doctest: +SKIP
        >>> store[0].pixels_hu.shape  # doctest: +SKIP
        (212, 288)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = read_manifest(folder)
        try:
            self.settings: Mapping[str, Any] = dict(content["settings"])
            self.excluded: Mapping[str, Any] = dict(content["excluded"])
            """Evaluation cases that every scan was compared with: their lists, their number, and how near the
            nearest of what is left came. Not every copy is known: of single slices, shrunk to 0.75 and clipped to
            soft tissue, a fifth is missed (``benchmarks/results/slice_likeness.json``)."""
            self.refused: tuple[Mapping[str, Any], ...] = tuple(content["refused"])
            """Scans that were left out because a slice shows an evaluation case, and which."""
            self._shards = tuple(
                (str(one["key"]), str(one["case"]), str(one["sha256"])) for one in content["shards"]
            )
            counts = [int(one["slices"]) for one in content["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(folder, f"{MANIFEST}: {error}") from None
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> StoredSlice:
        if not -len(self) <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        index %= len(self)
        number = bisect_right(self._ends, index)
        shard = self.shard(number)
        within = index - (self._ends[number - 1] if number else 0)
        return StoredSlice(
            shard.pixels(within),
            shard.case,
            shard.group,
            shard.numbers[within],
            shard.spacing_mm,
            shard.regions[within],
        )

    @property
    def plane(self) -> Plane:
        """Along which plane the slices were taken."""
        plane: Plane = self.settings["plane"]
        return plane

    def spacing_mm(self) -> tuple[float, float] | None:
        """Return the sides of a pixel: those of all slices, or the median of their scans' own; None of no slice.

        Raises:
            FileFormatError: If a shard is damaged.
        """
        common = self.settings.get("spacing_mm")
        if common is not None:
            return float(common), float(common)
        shards = [self.shard(number) for number in range(len(self._shards))]
        sides = [shard.spacing_mm for shard in shards for _ in shard.numbers]
        return (median(row_mm for row_mm, _ in sides), median(mm for _, mm in sides)) if sides else None

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the scans, in order; ``indices_of`` says where the slices of each are."""
        return tuple(case for _, case, _ in self._shards)

    def indices_of(self, number: int) -> range:
        """Return the indices of the slices of a scan, counted as in ``cases``."""
        return range(self._ends[number - 1] if number else 0, self._ends[number])

    def shard(self, number: int) -> Shard:
        """Return what is known about the slices of a scan, counted as in ``cases``.

        Raises:
            FileFormatError: If it is damaged.
        """
        return _shard(self.folder / SHARDS / self._shards[number][0])

    def state(self) -> dict[str, list[Any]]:
        """Return shard -> the hash it should have, and sizes and times of change of its files as they are now.

        Raises:
            FileFormatError: If one is not there.
        """
        found: dict[str, list[Any]] = {}
        for key, _, digest in self._shards:
            folder = self.folder / SHARDS / key
            try:
                stats = {file.name: file.stat() for file in sorted(folder.iterdir())}
            except OSError as error:
                raise _damaged(folder, str(error)) from None
            found[key] = [digest, {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}]
        return found

    def check(self, *, but: Collection[str] = ()) -> Iterator[str]:
        """Compare everything on disk with the manifest, and yield the key of each shard that is sound.

        Args:
            but: Keys of shards that are not looked at.

        Raises:
            FileFormatError: At the first file that is not the one the manifest was written for.
        """
        for key, case, digest in self._shards:
            if key in but:
                continue
            folder = self.folder / SHARDS / key
            if sha256_of(folder / "shard.json") != digest:
                raise _damaged(folder, f"shard.json of {case}, whose contents have changed")
            Shard.read(folder).check()
            yield key


@lru_cache(maxsize=_SHARDS_AT_HAND)
def _shard(folder: Path) -> Shard:
    return Shard.read(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a store's manifest.

    Raises:
        FileFormatError: If there is none, or it is no store's.
    """
    if not folder.is_dir():
        raise _damaged(folder, "no such folder")
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(folder, f"a {MANIFEST} of another kind")
    return content


def sha256_of(path: Path) -> str:
    """Return the hash of a file.

    Raises:
        FileFormatError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name}: {error.strerror}") from None


def _damaged(folder: Path, got: str) -> FileFormatError:
    return FileFormatError(
        expected=f"a store of slices at {folder}, as `vesalius curate slices` writes it",
        got=got.splitlines()[0] if got else "nothing",
        do="make it again, or run `vesalius curate slices ... --resume` to finish it",
    )
