"""Curate slices: the scans of a list -> a store to pretrain on, without any slice of what is kept aside."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vesalius.curation.exclusion import EXCLUDED, Exclusion
from vesalius.curation.jobs import Outcome, carry_out, refuse_begun, training_cases
from vesalius.curation.slice_factory import SliceSettings, pictures_key, shard_key, write_pictures, write_shard
from vesalius.curation.slice_manifest import Refusal, keep_settings, write_manifest
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.slices import SHARDS
from vesalius.errors import InterruptedRun, VesaliusError
from vesalius.inference.result_folder import disk_errors


@dataclass(frozen=True, kw_only=True)
class CuratedSlices:
    """What a run came to.

    Args:
        outcomes: What became of each scan.
        refused: Scans of the store that may not be learnt from, from whichever run they are.
    """

    outcomes: tuple[Outcome, ...]
    refused: tuple[Refusal, ...]


def curate_slices(
    listed: DataList,
    store: Path,
    *,
    settings: SliceSettings | None = None,
    excluded: Sequence[DataList] = (),
    resume: bool = False,
    on_case: Callable[[Outcome], None] = lambda _: None,
) -> CuratedSlices:
    """Put the training scans of a list into a store of slices (``data.slices``), several lists one after another.

    Args:
        listed: Its validation and test scans are kept aside, like those that are excluded.
        store: A folder; several processes may fill it at once.
        settings: How scans become slices.
        excluded: Lists of which no scan may be in the store, whatever their splits and names.
        resume: Go on in a store that is there.
        on_case: Told of every scan, those that are kept aside first.

    Raises:
        UsageError: If the store is there and is not to be resumed, or was made with other settings; or if the list
            has no training scans.
        InputError: If a scan that is kept aside cannot be read: nothing would prove that it is not learnt from.
        InterruptedRun: If somebody stopped it; the store has a manifest of what was done.
        DiskError: If it cannot be written.
    """
    settings = settings or SliceSettings()
    cases = training_cases(listed)
    refuse_begun(store, resume=resume)
    with disk_errors(store):
        store.mkdir(parents=True, exist_ok=True)
    keep_settings(store, settings)
    own = [case for case in listed.cases if case.split != "training"]
    for kept_aside, some in [(listed, own), *((other, list(other.cases)) for other in excluded)]:
        _keep_aside(kept_aside, some, store, settings, on_case)
    shards, exclusion = Cache(store / SHARDS), Exclusion(store)

    def judged(outcome: Outcome) -> None:
        """Judge a scan where it was made, so that several processes share that, too."""
        if outcome.folder is not None:
            exclusion.judge(outcome.folder.name)
        on_case(outcome)

    try:
        outcomes = carry_out(
            cases,
            shards,
            key=partial(shard_key, settings=settings, cache=shards),
            make=lambda case, folder: write_shard(folder, case, listed, settings),
            on_case=judged,
        )
    except InterruptedRun:
        write_manifest(store, settings)
        raise
    return CuratedSlices(outcomes=outcomes, refused=write_manifest(store, settings))


def _keep_aside(
    listed: DataList,
    cases: Sequence[ListedCase],
    store: Path,
    settings: SliceSettings,
    on_case: Callable[[Outcome], None],
) -> None:
    """Keep pictures of scans, so that their slices are known wherever they turn up."""
    pictures = Cache(store / EXCLUDED)
    outcomes = carry_out(
        cases,
        pictures,
        key=partial(pictures_key, plane=settings.plane, cache=pictures),
        make=lambda case, folder: write_pictures(folder, case, listed, settings.plane),
        on_case=on_case,
    )
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failed:
        raise _unproved(failed[0], len(failed))


def _unproved(error: VesaliusError, count: int) -> VesaliusError:
    return type(error)(
        expected=f"to read every scan that is kept aside; {error.expected}",
        got=f"{error.got} ({count} in all)",
        do=f"{error.do}, or take it out of the list: an exclusion of what cannot be read proves nothing",
    )
