"""Plans: what a run needs is said before it runs, and what does not fit is refused with a way out."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.small_model import small_spec
from vesalius.errors import MemoryBudgetError
from vesalius.geometry.grid import Grid
from vesalius.inference.pipelines import pipeline
from vesalius.inference.plan import Demand, Plan, make_plan
from vesalius.spec import ModelSpec, VistaArchitecture

GB = 10**9


def demand(num_classes: int = 5, spec: ModelSpec | None = None, side: int = 200, device: str = "cpu") -> Demand:
    return Demand(
        spec=spec or ModelSpec(name="full", architecture=VistaArchitecture()),
        pipeline=pipeline(None),
        grid=Grid((side, side, 2 * side), np.diag([1.5, 1.5, 1.5, 1.0])),
        target=Grid((2 * side, 2 * side, 3 * side), np.diag([0.75, 0.75, 1.0, 1.0])),
        num_classes=num_classes,
        num_layers=1,
        label_bytes=1,
        resident_bytes=GB,
        device=device,
    )


def steady(architecture: VistaArchitecture, precision: str) -> float:
    return 1e11


def test_memory_hardly_grows_with_the_number_of_classes() -> None:
    one, many = (
        make_plan(demand(n), precision="bf16", max_bytes=64 * GB, flops_per_second=steady).peak_bytes
        for n in (1, 117)
    )
    assert one <= many <= 1.1 * one


def test_accumulation_gives_way_before_the_run_is_refused() -> None:
    roomy = make_plan(demand(), precision="fp32", max_bytes=64 * GB, flops_per_second=steady)
    tight = make_plan(demand(), precision="fp32", max_bytes=roomy.peak_bytes - 1, flops_per_second=steady)
    assert roomy.accumulate == torch.float32
    assert tight.accumulate == torch.float16
    assert tight.peak_bytes < roomy.peak_bytes


def test_precision_gives_way_last_and_only_to_a_stated_limit() -> None:
    roomy = make_plan(demand(), precision="fp32", fallback="bf16", max_bytes=64 * GB, flops_per_second=steady)
    half = make_plan(demand(), precision="fp32", max_bytes=roomy.peak_bytes - 1, flops_per_second=steady)
    tight = make_plan(
        demand(), precision="fp32", fallback="bf16", max_bytes=half.peak_bytes - 1, flops_per_second=steady
    )
    as_asked = make_plan(demand(), precision="bf16", max_bytes=half.peak_bytes - 1, flops_per_second=steady)
    assert [plan.precision for plan in (roomy, half, tight, as_asked)] == ["fp32", "fp32", "bf16", "bf16"]
    assert [plan.gave_way for plan in (roomy, half, tight, as_asked)] == [False, True, True, False]
    assert tight.peak_bytes == as_asked.peak_bytes
    assert tight.as_dict()["gave_way_to_memory"] is True
    with pytest.raises(MemoryBudgetError):
        make_plan(demand(), precision="fp32", max_bytes=half.peak_bytes - 1, flops_per_second=steady)


def test_what_happens_to_be_free_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    half = make_plan(demand(), precision="fp32", max_bytes=64 * GB, flops_per_second=steady).peak_bytes - 1
    monkeypatch.setattr("vesalius.inference.plan.available_bytes", lambda: half - GB)
    with pytest.raises(MemoryBudgetError):
        make_plan(demand(), precision="fp32", fallback="bf16", flops_per_second=steady)


def test_what_cannot_fit_is_refused_with_sizes_and_a_way_out() -> None:
    with pytest.raises(MemoryBudgetError, match="--max-memory") as refusal:
        make_plan(demand(), precision="bf16", max_bytes=GB, flops_per_second=steady)
    assert "1.0 GB" in refusal.value.expected
    assert "slab" in refusal.value.got


def test_what_is_refused_is_the_smallest_plan_and_what_it_does_already_is_not_offered() -> None:
    asked = replace(demand(), threads=2)
    refused = {}
    for precision, fallback in (("fp32", None), ("fp32", "bf16"), ("bf16", None)):
        with pytest.raises(MemoryBudgetError) as refusal:
            make_plan(asked, precision=precision, fallback=fallback, max_bytes=GB, flops_per_second=steady)
        refused[precision, fallback] = refusal.value
    assert ["bf16" in error.do for error in refused.values()] == [True, False, False]
    for error in refused.values():
        total, *parts = (float(size) for size in re.findall(r"([\d.]+) GB", error.got))
        assert sum(parts) == pytest.approx(total, abs=0.05 * (1 + len(parts)))
    heavy = replace(asked, fallback_bytes=64 * GB)  # both networks at once need more than fp32 alone
    with pytest.raises(MemoryBudgetError) as refusal:
        make_plan(heavy, precision="fp32", fallback="bf16", max_bytes=GB, flops_per_second=steady)
    total, *parts = (float(size) for size in re.findall(r"([\d.]+) GB", refusal.value.got))
    assert sum(parts) == pytest.approx(total, abs=0.05 * (1 + len(parts)))
    assert "bf16" in refusal.value.do


def test_seconds_follow_the_windows_and_the_processor() -> None:
    plan = make_plan(demand(), precision="bf16", max_bytes=64 * GB, flops_per_second=steady)
    faster = make_plan(
        demand(), precision="bf16", max_bytes=64 * GB, flops_per_second=lambda a, p: 2 * steady(a, p)
    )
    assert plan.seconds / faster.seconds == pytest.approx(2.0, rel=0.2)


def test_the_slab_rolls_along_the_longest_axis_of_the_grid() -> None:
    plan = make_plan(demand(), precision="bf16", max_bytes=64 * GB, flops_per_second=steady)
    assert plan.layout.axis == 2
    assert plan.layout.slab_shape == (128, 200, 200)


def test_a_plan_is_json() -> None:
    plan = make_plan(demand(spec=small_spec()), precision="fp32", max_bytes=64 * GB, flops_per_second=steady)
    told = json.loads(json.dumps(plan.as_dict()))
    assert told["windows"] == plan.layout.num_windows
    assert told["peak_bytes"] == max(sum(parts.values()) for parts in told["bytes"].values())


def test_windows_that_run_while_labels_are_made_are_counted() -> None:
    beside = make_plan(
        replace(demand(117), threads=2), precision="bf16", max_bytes=64 * GB, flops_per_second=steady
    )
    labelling, windows = beside.phases["labelling"], beside.phases["windows"]
    assert labelling["network"] == windows["network"] > 0
    assert beside.peak_bytes == sum(labelling.values()) > sum(windows.values())
    alone = make_plan(demand(117), precision="bf16", max_bytes=64 * GB, flops_per_second=steady)
    assert alone.phases["labelling"]["network"] == 0


def test_windows_run_at_once_as_threads_and_memory_allow_and_memory_changes_no_rounding() -> None:
    def plan(threads: int | None, limit: int = 64 * GB) -> Plan:
        asked = replace(demand(), threads=threads)
        return make_plan(asked, precision="bf16", max_bytes=limit, flops_per_second=steady)

    placed = [(p.at_once, p.threads_each) for p in map(plan, (None, 1, 2, 6, 7, 8))]
    assert placed == [(1, None), (1, 1), (2, 1), (3, 2), (3, 2), (4, 2)]
    two, one, alone = (plan(threads).phases["windows"]["network"] for threads in (2, 1, None))
    result = 128**3 * 48 * 2
    assert one - alone == result, "in a thread of its own a window runs while the one before waits to be blended"
    assert two - one == 3 * result
    wide = replace(
        demand(), grid=Grid((200, 200, 200), np.eye(4)), target=Grid((200, 200, 200), np.eye(4)), threads=2
    )
    roomy = make_plan(wide, precision="bf16", max_bytes=64 * GB, flops_per_second=steady)
    tight = make_plan(wide, precision="bf16", max_bytes=roomy.peak_bytes - 1, flops_per_second=steady)
    assert (roomy.at_once, tight.at_once) == (2, 1)
    assert (tight.threads_each, tight.gave_way) == (1, False)
    idle = tight.seconds - roomy.seconds  # half of the threads have nothing to do
    assert idle > 0.9 * (roomy.seconds - 10)
