"""Judge shards of slices against what is kept aside: each shard once for each state of that, and then from a note.

Comparing is what takes time in a large store (some milliseconds a slice), so a verdict is kept beside the shards,
under the shard's name and a hash of everything that it was compared with. Whatever is added to what is kept aside
makes new verdicts of all.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.data.cache import Cache, key_of
from vesalius.data.likeness import ALIKE, Gallery
from vesalius.data.slices import SHARDS, Shard
from vesalius.errors import FileFormatError

EXCLUDED = "excluded"
"""Folder of the pictures of cases that are kept aside."""
VERDICTS = "verdicts"
_FILE = "verdict.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What of a scan is most like something that is kept aside.

    Args:
        number: Its slice.
        shows: The scan that this is most like, with its list; empty where nothing could be compared.
        shows_number: The slice of that scan.
        likeness: Of the two, in 0..1.
    """

    number: int = -1
    shows: str = ""
    shows_number: int = -1
    likeness: float = 0.0

    @property
    def is_refused(self) -> bool:
        """Whether the scan shows what is kept aside."""
        return self.likeness >= ALIKE


class Exclusion:
    """What a store keeps aside, as it is now.

    Args:
        store: Its folder.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._aside = tuple(folders(store / EXCLUDED))
        names = [folder.name for folder in self._aside]
        self._state = key_of({"format": _FORMAT, "alike": ALIKE, "aside": names})[:16]
        self._verdicts = Cache(store / VERDICTS)

    @cached_property
    def lists(self) -> Mapping[str, int]:
        """How many scans of each list are kept aside."""
        counts: dict[str, int] = {}
        for folder in self._aside:
            group = str(_facts(folder)["group"])
            counts[group] = counts.get(group, 0) + 1
        return counts

    def judge(self, key: str) -> Verdict:
        """Return the verdict on a shard; another process may be asked for the same.

        Raises:
            FileFormatError: If the shard, or what is kept aside, is damaged.
            DiskError: If the verdict cannot be noted.
        """
        if not self._aside:
            return Verdict()
        folder = self._verdicts.ensure(f"{key}-{self._state}", lambda folder: self._write(key, folder))
        return Verdict(**json.loads((folder / _FILE).read_text("utf-8")))

    def _write(self, key: str, folder: Path) -> None:
        shard = Shard.read(self._store / SHARDS / key)
        best = Verdict()
        for number, match in zip(shard.numbers, self._gallery.nearest(shard.pictures()), strict=True):
            if match is not None and match.likeness > best.likeness:
                best = Verdict(
                    number=number, shows=match.case, shows_number=match.number, likeness=round(match.likeness, 4)
                )
        (folder / _FILE).write_text(json.dumps(asdict(best)), encoding="utf-8")

    @cached_property
    def _gallery(self) -> Gallery:
        cases: list[str] = []
        numbers: list[int] = []
        pictures: list[np.ndarray] = []
        for folder in self._aside:
            facts = _facts(folder)
            for in_window in _pictures(folder):
                cases += [f"{facts['group']}/{facts['case']}"] * len(in_window)
                numbers += range(len(in_window))
                pictures.append(in_window)
        return Gallery.of(cases, numbers, pictures)


def folders(folder: Path) -> Iterator[Path]:
    """Yield the complete folders of a cache, in order."""
    if folder.is_dir():
        yield from sorted(
            one for one in folder.iterdir() if one.is_dir() and one.name != "hashes" and one.name[0] != "."
        )


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / "case.json").read_text("utf-8"))
        return {"group": str(facts["group"]), "case": str(facts["case"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from None


def _pictures(folder: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(folder / "pictures.npy", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> FileFormatError:
    return FileFormatError(
        expected=f"pictures of a case that is kept aside in {folder}",
        got=(str(error).splitlines() or ["nothing"])[0],
        do="delete the folder and run the same command with --resume",
    )
