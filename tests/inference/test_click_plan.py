"""Forecasts of clicks: windows are those of the session, and a limit of memory is kept to by remembering less."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from interactive.small_session import SHAPE, click, organs, scan, segmenter
from vesalius.errors import MemoryBudgetError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference import click_plan
from vesalius.inference.click_plan import ClickPlan, plan_clicks
from vesalius.inference.segmenter import Segmenter
from vesalius.interactive.session import Session
from vesalius.prompts.types import PointPrompt
from vesalius.spec import VistaArchitecture
from vesalius.transforms.preprocess import padded_grid

GB = 10**9
HELD = GB // 2


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold what the process has already at half a gigabyte."""
    monkeypatch.setattr(click_plan, "resident_bytes", lambda: HELD)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return segmenter()


def operations(architecture: VistaArchitecture, precision: str) -> float:
    return 1e9


def plan(model: Segmenter, clicks: Sequence[PointPrompt], volume: Volume | None = None, **how: Any) -> ClickPlan:
    given: dict[str, Any] = {"labels": None, "most_cache_bytes": GB, "max_bytes": 64 * GB} | how
    return plan_clicks(model, volume or scan(), clicks, flops_per_second=operations, **given)


def spread(count: int, seed: int) -> list[PointPrompt]:
    """Clicks anywhere on the volume, its outermost voxels included, on three structures in turn."""
    rng = np.random.default_rng(seed)
    names = ("liver", "new:cyst", "spleen")
    return [click(names[n % 3], *(int(rng.integers(side)) for side in SHAPE)) for n in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_the_windows_are_those_the_session_takes(seed: int) -> None:
    model, volume = segmenter(spacing_mm=(1.7, 2.1, 2.6), orientation="LPS"), scan()
    clicks = [*spread(7, seed), click("liver", -0.5, 0, SHAPE[2] - 0.5)]
    session = Session(model, volume)
    for one in clicks:
        session.add(one)
    session.predict()
    planned = plan(model, clicks)
    assert planned.windows == session.state.windows
    assert len(planned.windows) > 1
    assert planned.passes == session.image_maps.misses
    assert planned.answers == session.image_maps.misses + session.image_maps.hits


def test_in_a_session_that_remembers_nothing_there_are_as_many_passes_as_are_forecast(model: Segmenter) -> None:
    clicks, volume = spread(6, 0), scan()
    least = plan(model, clicks).phases["clicks"]
    limit = sum(size for part, size in least.items() if part != "remembered")
    planned = plan(model, clicks, max_bytes=limit)
    assert planned.cache_bytes == 0
    session = Session(model, volume, cache_bytes=planned.cache_bytes)
    for one in clicks:
        session.add(one)
    session.predict()
    assert planned.passes == session.image_maps.misses > len(planned.windows)
    assert planned.seconds > plan(model, clicks).seconds


TILTED = np.array([[0, 0, 2.0, 0], [-3, 0, 0, 9], [0, 4, 0.9, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("turned", [np.diag([3.0, 3.0, 3.0, 1.0]), TILTED])
def test_the_grid_is_known_before_the_image_is_made(model: Segmenter, turned: np.ndarray) -> None:
    volume = Volume(scan().data, Grid(SHAPE, turned), "CT")
    expected = model.prepare_whole(volume).grid
    assert padded_grid(model.whole_grid(volume.grid), model.spec.window_size).is_close(expected)


def test_the_upright_copy_of_a_tilted_scan_is_counted_while_it_is_there(model: Segmenter) -> None:
    clicks = [click("liver", 9, 9, 9)]
    straight, tilted = (
        plan(model, clicks, Volume(scan().data, Grid(SHAPE, affine), "CT")).phases
        for affine in (np.diag([3.0, 3.0, 3.0, 1.0]), TILTED)
    )
    assert "upright" not in straight["preparing"]
    assert tilted["preparing"]["upright"] > 2 * 4 * scan().grid.num_voxels, "half as far apart, and around the tilt"
    assert "upright" not in tilted["clicks"]


def test_what_is_left_of_the_memory_allowed_is_to_remember_with(model: Segmenter) -> None:
    clicks, most = spread(6, 0), 40_000_000
    roomy = plan(model, clicks, most_cache_bytes=most)
    least = sum(size for part, size in roomy.phases["clicks"].items() if part != "remembered")
    assert roomy.cache_bytes == most
    assert plan(model, clicks, most_cache_bytes=most, max_bytes=least + 1000).cache_bytes == 1000
    for limit in (least, least + 1000, least + 10**6, 64 * GB):
        assert plan(model, clicks, most_cache_bytes=most, max_bytes=limit).peak_bytes <= limit
    with pytest.raises(MemoryBudgetError, match="--max-memory") as refusal:
        plan(model, clicks, most_cache_bytes=most, max_bytes=least - 1)
    assert "network" in refusal.value.got


def test_what_the_machine_has_free_is_the_limit_where_none_is_stated(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = spread(3, 0)
    monkeypatch.setattr(click_plan, "available_bytes", lambda: 10**9)
    assert (
        plan(model, clicks, max_bytes=None).cache_bytes == plan(model, clicks, max_bytes=HELD + 10**9).cache_bytes
    )
    monkeypatch.setattr(click_plan, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryBudgetError):
        plan(model, clicks, max_bytes=None)


def test_labels_and_their_layers_are_counted_twice_shown_and_given_back(model: Segmenter) -> None:
    volume, clicks = scan(), [click("liver", 9, 9, 9)]
    given = organs(volume)
    wide = LabelMap(given.data.astype(np.uint16), given.grid, given.names, given.overlaps)
    nothing, some, more = (
        plan(model, clicks, volume, labels=labels).phases["measuring"]["labels"] for labels in (None, given, wide)
    )
    voxels = volume.grid.num_voxels
    assert nothing == 2 * 2 * voxels, "the base layer, and one that the clicks may begin"
    assert some == 2 * 3 * voxels
    assert more == 2 * some


def test_clicks_far_apart_need_more_memory_and_time_than_one(model: Segmenter) -> None:
    far = plan(model, [click("liver", 0, 0, 0), click("liver", *(side - 1 for side in SHAPE))])
    near = plan(model, [click("liver", 0, 0, 0)])
    assert (len(near.windows), len(far.windows)) == (1, 2)
    assert far.phases["clicks"]["remembered"] == 2 * near.phases["clicks"]["remembered"]
    assert (far.seconds - 3) == pytest.approx(2 * (near.seconds - 3))


def test_clicks_at_the_edge_of_a_rotated_volume_have_windows(model: Segmenter) -> None:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    affine = np.eye(4)
    for spacing, shape, corner in (((0.9, 1.3, 0.7), (70, 61, 83), 10.0), ((1.1, 0.8, 1.2), (64, 77, 59), -150.0)):
        affine[:3, :3], affine[:3, 3] = turn @ np.diag(spacing), corner
        volume = Volume(np.zeros((1, *shape), dtype=np.int16), Grid(shape, affine), "CT")
        for edge in itertools.product(*((-0.5, 0.0, side - 1, side - 0.5) for side in shape)):
            assert len(plan(model, [click("liver", *edge)], volume).windows) == 1


def test_a_click_outside_is_refused_as_the_session_refuses_it(model: Segmenter) -> None:
    with pytest.raises(UsageError, match="inside the volume"):
        plan(model, [click("liver", 99, 0, 0)])


def test_a_plan_is_json(model: Segmenter) -> None:
    planned = plan(model, spread(6, 0))
    told = json.loads(json.dumps(planned.as_dict()))
    assert told["windows"] == len(planned.windows)
    assert told["peak_bytes"] == max(sum(parts.values()) for parts in told["bytes"].values())


def test_what_has_no_name_needs_its_extent_and_where_it_is_not_trusted_no_pass_of_the_network() -> None:
    published, half, none = (
        segmenter(**spec)  # type: ignore[arg-type]
        for spec in (
            {},
            {"click_reach_mm": 24.0, "unnamed_trust": 0.5},
            {"click_reach_mm": 24.0, "unnamed_trust": 0.0},
        )
    )
    new, far = click("new:cyst", 0, 0, 0), click("new:cyst", *(side - 1 for side in SHAPE))
    assert "extent" not in plan(published, [new]).phases["clicks"]
    assert "extent" not in plan(half, [click("liver", 9, 9, 9)]).phases["clicks"]
    near = plan(half, [new]).phases["clicks"]
    assert near["extent"] == 68 * 16**3
    assert near["network"] == plan(published, [new]).phases["clicks"]["network"]
    assert plan(half, [new, far]).phases["clicks"]["extent"] > near["extent"], "the box around both windows"
    alone = plan(none, [new, far])
    assert (alone.passes, alone.answers, alone.phases["clicks"]["remembered"]) == (0, 0, 0)
    assert "network" not in alone.phases["clicks"]
    assert alone.seconds < plan(half, [new, far]).seconds
    beside = [new, far, click("liver", 0, 0, 0)]
    mixed, session = plan(none, beside), Session(none, scan())
    for one in beside:
        session.add(one)
    session.predict()
    assert len(mixed.windows) == 2
    assert mixed.passes == session.image_maps.misses == 1
