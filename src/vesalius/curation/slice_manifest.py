"""The manifest of a store of slices: what may be learnt from, and what was refused as it shows a case kept aside.

Written anew after every run, over all shards that are there: whichever came first, a shard or the list that it must
not be learnt from, the shard is refused. Who reads a store sees only what the manifest names.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from vesalius.curation.exclusion import Exclusion, Verdict, folders
from vesalius.curation.slice_factory import SliceSettings
from vesalius.data.likeness import ALIKE
from vesalius.data.slices import FORMAT, MANIFEST, SHARDS, Shard, sha256_of
from vesalius.errors import UsageError
from vesalius.io.atomic import replacing

SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A scan that may not be learnt from.

    Args:
        key: Of its shard.
        case: Its name.
        group: Of its list.
        verdict: Which slice gave it away, and what that shows.
    """

    key: str
    case: str
    group: str
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the refusal as the manifest states it."""
        return {
            "key": self.key,
            "case": self.case,
            "group": self.group,
            "slice": self.verdict.number,
            "shows": self.verdict.shows,
            "shows_slice": self.verdict.shows_number,
            "likeness": self.verdict.likeness,
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
        exclusion = Exclusion(store)
        shards: list[dict[str, Any]] = []
        refusals: list[Refusal] = []
        nearest: dict[str, Any] = {"case": "", "like": "", "likeness": 0.0}
        for folder in folders(store / SHARDS):
            shard, verdict = Shard.read(folder), exclusion.judge(folder.name)
            if verdict.is_refused:
                refusals.append(Refusal(key=folder.name, case=shard.case, group=shard.group, verdict=verdict))
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
            if verdict.likeness > nearest["likeness"]:
                nearest = {"case": shard.case, "like": verdict.shows, "likeness": verdict.likeness}
        content = {
            "format": FORMAT,
            "settings": settings.as_dict(),
            "excluded": {"lists": dict(exclusion.lists), "alike": ALIKE, "nearest": nearest},
            "refused": [refusal.as_dict() for refusal in refusals],
            "shards": shards,
        }
        with replacing(store / MANIFEST) as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return tuple(refusals)
