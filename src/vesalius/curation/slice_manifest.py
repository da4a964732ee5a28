"""The manifest of a store of slices: what may be learnt from, and what was refused as it shows a case kept aside.

Written anew after every run, over all shards that are there: whichever came first, a shard or the list that it must
not be learnt from, the shard is refused. Who reads a store sees only what the manifest names.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from vesalius.curation.slice_factory import SliceSettings
from vesalius.data.likeness import ALIKE, Gallery, Match
from vesalius.data.slices import FORMAT, MANIFEST, SHARDS, Shard, sha256_of
from vesalius.errors import FileFormatError, UsageError
from vesalius.io.atomic import replacing

EXCLUDED = "excluded"
"""Folder of the pictures of cases that are kept aside."""
SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A scan that may not be learnt from.

    Args:
        key: Of its shard.
        case: Its name.
        group: Of its list.
        number: The slice that gave it away.
        match: What that slice shows.
    """

    key: str
    case: str
    group: str
    number: int
    match: Match

    def as_dict(self) -> dict[str, Any]:
        """Return the refusal as the manifest states it."""
        return {
            "key": self.key,
            "case": self.case,
            "group": self.group,
            "slice": self.number,
            "shows": self.match.case,
            "shows_slice": self.match.number,
            "likeness": round(self.match.likeness, 4),
        }


def keep_settings(store: Path, settings: SliceSettings) -> None:
    """Note the settings of a new store, or check that an old one was made with the same.

    Raises:
        UsageError: If it was made with others.
        DiskError: If nothing can be written.
    """
    path = store / SETTINGS
    with FileLock(store / f".{SETTINGS}.lock"):
        if not path.is_file():
            with replacing(path) as part:
                part.write_text(json.dumps(settings.as_dict()), encoding="utf-8")
            return
    there = json.loads(path.read_text("utf-8"))
    if there != settings.as_dict():
        raise UsageError(
            expected=f"the settings that {store} was begun with: {there}",
            got=str(settings.as_dict()),
            do="give the same plane and spacing, or name another folder",
        )


def write_manifest(store: Path, settings: SliceSettings) -> tuple[Refusal, ...]:
    """Write the manifest of all shards that are complete, and return what was refused.

    Raises:
        FileFormatError: If a shard is damaged.
        DiskError: If nothing can be written.
    """
    with FileLock(store / f".{MANIFEST}.lock"):
        gallery, lists = _kept_aside(store / EXCLUDED)
        shards: list[dict[str, Any]] = []
        refusals: list[Refusal] = []
        nearest: dict[str, Any] | None = None
        for folder in _folders(store / SHARDS):
            shard = Shard.read(folder)
            refusal, match = _judged(folder.name, shard, gallery)
            if refusal is not None:
                refusals.append(refusal)
                continue
            shards.append(
                {
                    "key": folder.name,
                    "case": shard.case,
                    "group": shard.group,
                    "slices": len(shard.numbers),
                    "sha256": sha256_of(folder / "shard.json"),
                }
            )
            if match is not None and (nearest is None or match.likeness > nearest["likeness"]):
                nearest = {"case": shard.case, "like": match.case, "likeness": round(match.likeness, 4)}
        content = {
            "format": FORMAT,
            "settings": settings.as_dict(),
            "excluded": {"lists": lists, "slices": len(gallery), "alike": ALIKE, "nearest": nearest},
            "refused": [refusal.as_dict() for refusal in refusals],
            "shards": shards,
        }
        with replacing(store / MANIFEST) as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return tuple(refusals)


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the complete folders of a cache, in order."""
    if folder.is_dir():
        yield from sorted(
            one for one in folder.iterdir() if one.is_dir() and one.name != "hashes" and one.name[0] != "."
        )


def _kept_aside(folder: Path) -> tuple[Gallery, Mapping[str, int]]:
    """Return the pictures of all cases that are kept aside, and how many of each list there are."""
    cases: list[str] = []
    numbers: list[int] = []
    pictures: list[np.ndarray] = []
    lists: dict[str, int] = {}
    for one in _folders(folder):
        try:
            facts = json.loads((one / "case.json").read_text("utf-8"))
            found = np.load(one / "pictures.npy", allow_pickle=False)
            group, name = str(facts["group"]), str(facts["case"])
        except (OSError, ValueError, KeyError) as error:
            raise FileFormatError(
                expected=f"pictures of a case that is kept aside in {one}",
                got=str(error).splitlines()[0],
                do="delete the folder and run the same command with --resume",
            ) from None
        lists[group] = lists.get(group, 0) + 1
        for in_window in found:
            cases += [f"{group}/{name}"] * len(in_window)
            numbers += range(len(in_window))
            pictures.append(in_window)
    return Gallery.of(cases, numbers, pictures), lists


def _judged(key: str, shard: Shard, gallery: Gallery) -> tuple[Refusal | None, Match | None]:
    """Return why a shard is refused, if it is, and what it is most like."""
    if not len(gallery):
        return None, None
    matches: Sequence[Match | None] = gallery.nearest(shard.pictures())
    found = [(match.likeness, number, match) for number, match in zip(shard.numbers, matches, strict=True) if match]
    if not found:
        return None, None
    _, number, match = max(found, key=lambda one: one[0])
    if match.likeness < ALIKE:
        return None, match
    return Refusal(key=key, case=shard.case, group=shard.group, number=number, match=match), match
