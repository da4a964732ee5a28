"""Runs made ready: the plan is for what is there, gives way where it must, and is not refused for what it made."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from inference.small_model import small_network, small_spec
from inference.test_segmenter import scan
from vesalius.checkpoints.safetensors import write_model
from vesalius.errors import MemoryBudgetError, UsageError
from vesalius.inference.segmenter import Segmenter, SegmentOptions, load


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    spec = small_spec()
    return Segmenter(small_network(spec), spec)


def test_a_model_loaded_as_it_suits_runs_in_bf16_where_fp32_does_not_fit_and_in_fp32_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesalius.inference.segmenter.best_precision", lambda _: "fp32")
    monkeypatch.setattr("vesalius.inference.runs.resident_bytes", lambda: 10**8)
    spec = small_spec(window_size=(48, 48, 48))  # a pass takes more than the second network
    write_model(tmp_path / "small", small_network(spec).state_dict(), spec)
    automatic, fp32, bf16 = (load(tmp_path / "small", precision=p, device="cpu") for p in ("auto", "fp32", "bf16"))
    smallest = fp32.plan(scan(), options=SegmentOptions(max_memory=fp32.plan(scan()).peak_bytes - 1)).peak_bytes
    tight = SegmentOptions(max_memory=smallest - 1)
    held = automatic.network
    with pytest.raises(MemoryBudgetError, match="--precision bf16"):
        fp32.segment(scan(), options=tight)
    found = automatic.segment(scan(), options=tight)
    assert (found.plan.precision, found.plan.gave_way) == ("bf16", True)
    assert automatic.network is held  # which another thread may be using
    assert np.array_equal(found.labels.data, bf16(scan()).data)
    after = automatic.segment(scan())
    assert (after.plan.precision, after.plan.gave_way) == ("fp32", False)
    assert np.array_equal(after.labels.data, fp32(scan()).data)
    assert not np.array_equal(found.labels.data, after.labels.data)


def test_a_plan_counts_the_image_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    held = itertools.count(10**8, 10**8)  # grows with what the run makes
    monkeypatch.setattr("vesalius.inference.runs.resident_bytes", lambda: next(held))
    assert segmenter.plan(scan()).phases["windows"]["held already"] == 10**8


def test_a_run_that_fits_what_the_machine_has_free_is_not_refused_once_its_image_is_made(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = segmenter.plan(scan(), options=SegmentOptions(max_memory=10**12)).peak_bytes
    free = itertools.chain([peak], itertools.repeat(0))  # all of it is taken by what the run has made

    def take() -> int:
        return next(free)

    monkeypatch.setattr("vesalius.inference.runs.resident_bytes", lambda: 0)
    for room in ("runs", "plan"):
        monkeypatch.setattr(f"vesalius.inference.{room}.available_bytes", take)
    assert not segmenter.plan(scan()).gave_way
    with pytest.raises(MemoryBudgetError):
        segmenter.plan(scan())


def test_options_of_a_model_of_slices_are_refused(segmenter: Segmenter) -> None:
    for options in (SegmentOptions(mirror=True), SegmentOptions(planes=("axial",))):
        with pytest.raises(UsageError, match="sees whole volumes"):
            segmenter.plan(scan(), options=options)
