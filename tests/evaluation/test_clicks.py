"""The simulated user in the real session: a network stands in whose clicks are cubes of 5 x 5 x 5 voxels."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from inference.small_model import small_network, small_spec
from interactive.cubes import cubes, slabs
from interactive.small_session import SHAPE, scan
from vesalius.allowance import resident_bytes
from vesalius.errors import GeometryError, MemoryBudgetError, NoHeadError, UsageError
from vesalius.evaluation import clicks as clicks_module
from vesalius.evaluation.click_summary import Reach, click_sections, clicks_as_dict, evaluation_after
from vesalius.evaluation.clicks import ClickCurve, ClickEvaluation, ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import ScoringOptions
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.inference.click_plan import ClickPlan
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.features import CACHE_BYTES
from vesalius.interactive.session import Session
from views.page_parser import Page

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
FROM_NOTHING = ClickProtocol(clicks=4, start="nothing", jitter_mm=0.0)
CUBE: Box = ((10, 15), (10, 15), (9, 14))


@pytest.fixture(autouse=True)
def _cubes() -> Iterator[None]:
    with cubes():
        yield


def case(boxes: Mapping[int, Box], names: Mapping[int, str], **more: object) -> ReferenceCase:
    data = np.zeros(SHAPE, np.uint8)
    for label, box in boxes.items():
        data[tuple(slice(*ends) for ends in box)] = label
    volume = scan()
    return ReferenceCase(name="one", volume=volume, truth=LabelMap(data, volume.grid, names), **more)


def corrected(one: ReferenceCase, protocol: ClickProtocol = FROM_NOTHING, **more: object) -> ClickEvaluation:
    return evaluate_clicks(slabs(), [one], protocol, **more)


def dice(curve: ClickCurve) -> list[float]:
    return [round(score.dice, 4) for score in curve.scores]


def test_the_memory_allowed_is_kept_to_and_changes_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = Session.__init__

    def watched(self: Session, *args: object, cache_bytes: int = CACHE_BYTES, **more: object) -> None:
        asked.append(cache_bytes)
        real(self, *args, cache_bytes=cache_bytes, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "__init__", watched)
    one = case({1: CUBE}, {1: "liver"})
    free = corrected(one)
    tight = corrected(one, how=SegmentOptions(max_memory=resident_bytes() + 300_000_000))
    assert [dice(curve) for curve in tight.curves] == [dice(curve) for curve in free.curves]
    assert asked[0] == CACHE_BYTES
    assert 0 < asked[1] < 300_000_000
    two = case({1: CUBE, 2: ((2, 7), (2, 7), (2, 6))}, {1: "liver", 2: "spleen"})
    planned = [session for session, *_ in _planned(two, 300_000_000, monkeypatch)]
    assert all(before is None for before in planned), "what the session before remembered is not planned again"
    with pytest.raises(MemoryBudgetError, match="raise --max-memory"):
        corrected(one, how=SegmentOptions(max_memory=1_000_000))


def _planned(one: ReferenceCase, room: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Session | None, int]]:
    """Return, for each structure that is planned, the session that is still alive then, and the bytes it gets."""
    real_plan, real_init = clicks_module.plan_clicks, Session.__init__
    opened: list[weakref.ref[Session]] = []
    found: list[tuple[Session | None, int]] = []

    def watched(self: Session, *args: object, **more: object) -> None:
        opened.append(weakref.ref(self))
        real_init(self, *args, **more)  # type: ignore[arg-type]

    def planned(*args: object, **more: object) -> ClickPlan:
        plan = real_plan(*args, **more)  # type: ignore[arg-type]
        gc.collect()
        found.append((next((s for ref in opened if (s := ref()) is not None), None), plan.cache_bytes))
        return plan

    with monkeypatch.context() as patch:
        patch.setattr(Session, "__init__", watched)
        patch.setattr(clicks_module, "plan_clicks", planned)
        corrected(one, how=SegmentOptions(max_memory=resident_bytes() + room))
    assert len(found) == len(one.truth.names)
    return found


def test_one_click_on_what_one_click_finds() -> None:
    result = corrected(case({1: CUBE}, {1: "liver"}))
    (curve,) = result.curves
    assert dice(curve) == [0, 1]
    assert len(curve.seconds) == 1
    assert curve.after(0).dice == 0
    assert curve.after(4).dice == 1  # needs no more clicks
    assert curve.clicks_to(0.9) == 1


def test_a_longer_structure_takes_more_clicks_and_the_budget_ends_it() -> None:
    long: Box = ((5, 22), (10, 15), (9, 14))
    (curve,) = corrected(
        case({1: long}, {1: "liver"}), ClickProtocol(clicks=2, start="nothing", jitter_mm=0.0)
    ).curves
    assert dice(curve)[:2] == [0, round(2 * 125 / (125 + 425), 4)]
    assert len(curve.scores) == 3
    assert curve.clicks_to(0.9) is None


def test_the_mask_after_exactly_n_clicks_counts_not_the_best_so_far() -> None:
    one = case({1: CUBE}, {1: "liver"})
    one.truth.data[20, 20, 20] = 1  # one voxel, and its click is a cube
    (curve,) = corrected(one).curves
    assert dice(curve)[:3] == [0, round(250 / 251, 4), round(252 / (126 + 250), 4)]
    assert curve.after(2).dice < curve.after(1).dice


def test_absent_structures_are_counted() -> None:
    result = corrected(case({1: CUBE}, {1: "liver", 2: "spleen"}))
    assert [dice(curve) for curve in result.curves] == [[0, 1], [1]]
    found = corrected(case({}, {2: "spleen"}), ClickProtocol(clicks=1))  # automatically a slab, where nothing is
    (curve,) = found.curves
    assert dice(curve) == [0, 0]
    assert curve.scores[1].found_ml < curve.scores[0].found_ml  # the click was negative


def test_correction_begins_with_the_automatic_result() -> None:
    slab: Box = ((0, 26), (0, 30), (3, 6))
    result = corrected(case({1: slab, 2: CUBE}, {1: "liver", 2: "spleen"}), ClickProtocol(clicks=1))
    assert dice(result.curves[0]) == [1]
    assert 0 < dice(result.curves[1])[0] < 1
    assert [dice(curve)[0] for curve in result.baseline] == [0, 0]  # balls begin with nothing


def test_a_structure_without_a_name_in_the_model_is_clicked_as_new() -> None:
    result = corrected(case({7: CUBE}, {7: "larynx"}))
    assert dice(result.curves[0]) == [0, 1]
    as_new = ClickProtocol(clicks=4, start="nothing", jitter_mm=0.0, new=True)
    assert dice(corrected(case({1: CUBE}, {1: "liver"}), as_new).curves[0]) == [0, 1]
    with pytest.raises(UsageError, match="--start nothing"):
        ClickProtocol(new=True)


def test_a_structure_the_model_makes_of_several_is_skipped_with_its_reason() -> None:
    result = corrected(case({1: CUBE}, {1: "liver", 2: "kidney"}))
    assert [curve.scores[0].name for curve in result.curves] == ["liver"]
    assert list(result.skipped) == ["kidney"]
    twice = evaluate_clicks(slabs(), [case({1: CUBE}, {1: "liver", 2: "kidney"})] * 2, FROM_NOTHING)
    assert evaluation_after(twice, 0, ScoringOptions()).only_in_references == {"kidney": 2}
    assert "left kidney" in result.skipped["kidney"]


def test_what_nobody_judged_is_neither_clicked_nor_counted() -> None:
    one = case({1: CUBE, 9: ((10, 15), (15, 20), (9, 14))}, {1: "liver", 9: "ignore"}, unknown=frozenset({9}))
    (curve,) = corrected(one).curves
    assert curve.scores[0].truth_ml == pytest.approx(125 * 0.027)
    assert dice(curve) == [0, 1]


def test_no_baseline_is_charged_for_what_nobody_judged() -> None:
    rest = tuple((0, side) for side in SHAPE)
    thin: Box = ((8, 20), (10, 12), (9, 14))  # and nothing else was judged
    found = corrected(
        case({9: rest, 1: thin}, {1: "liver", 9: "ignore"}, unknown=frozenset({9})), ClickProtocol(clicks=2)
    )
    for tool in (found.curves, found.brush, found.baseline):
        assert 0 < max(score.found_ml for score in tool[0].scores) <= 120 * 0.027 + 1e-6


def test_the_hand_does_not_depend_on_the_order_of_structures() -> None:
    boxes: dict[int, Box] = {1: ((4, 16), (5, 12), (9, 14)), 2: ((4, 20), (15, 24), (9, 18))}
    one, protocol = case(boxes, {1: "liver", 2: "spleen"}), ClickProtocol(clicks=3, start="nothing")
    both = corrected(one, protocol).curves
    alone = corrected(one, protocol, options=ScoringOptions(classes=("spleen",))).curves
    assert dice(both[1]) == dice(alone[0])
    other_hand = corrected(one, ClickProtocol(clicks=3, start="nothing", seed=1)).curves
    assert [dice(curve) for curve in both] != [dice(curve) for curve in other_hand]


def test_the_baseline_has_balls_of_the_size_in_other_cases() -> None:
    cases = [case({1: box}, {1: "liver"}) for box in (CUBE, CUBE, ((8, 18), (10, 20), (9, 17)))]
    result = evaluate_clicks(slabs(), cases, ClickProtocol(clicks=1, start="nothing", jitter_mm=0.0))
    small, _, large = result.baseline
    assert small.scores[1].found_ml > 2 * large.scores[1].found_ml  # it expects what the others have


def test_a_model_without_a_click_branch_and_a_reference_elsewhere_are_refused() -> None:
    spec = small_spec(window_size=(16, 16, 16))
    without = Segmenter(small_network(spec), spec)
    with pytest.raises(NoHeadError):
        evaluate_clicks(without, [case({1: CUBE}, {1: "liver"})], FROM_NOTHING)
    one = case({1: CUBE}, {1: "liver"})
    elsewhere = LabelMap(one.truth.data, Grid(SHAPE, np.eye(4)), one.truth.names)
    with pytest.raises(GeometryError):
        corrected(ReferenceCase(name="one", volume=one.volume, truth=elsewhere))


def test_a_protocol_without_clicks_is_refused() -> None:
    with pytest.raises(UsageError):
        ClickProtocol(clicks=0)


def test_reach_counts_failures_as_more_than_any_budget() -> None:
    result = corrected(
        case({1: CUBE, 2: ((2, 24), (17, 28), (2, 20))}, {1: "liver", 2: "spleen", 3: "left kidney"})
    )
    assert Reach.of(result.curves, 0.9) == Reach(0.9, structures=3, reached=2, median_clicks=1.0)
    assert Reach.of(result.curves[1:2], 0.9).median_clicks is None


def test_what_is_told_of_clicks() -> None:
    result = corrected(case({1: CUBE}, {1: "liver", 2: "spleen", 8: "kidney"}))
    record = json.loads(json.dumps(clicks_as_dict(result), allow_nan=False))
    assert [row["clicks"] for row in record["after"]] == [0, 1, 2, 3, 4]
    assert [row["dice_all"]["estimate"] for row in record["after"]] == [0.5, 1, 1, 1, 1]
    assert record["after"][0]["balls"]["dice_all"]["estimate"] == 0.5
    assert record["seconds_a_click"]["clicks"] == 1
    assert record["curves"][0]["dice"] == [0, 1]
    page = "".join(click_sections(result))
    assert "data:image/png" in page
    rows = Page(f"<table>{page}</table>").rows
    assert next(row for row in rows if row[0] == "0")[1] == "0.500"
    assert next(row for row in rows if row[0] == "4")[1] == "1.000"
    assert "kidney:" in page
    after = evaluation_after(result, 4, ScoringOptions())
    gained = after.compared_with(evaluation_after(result, 0, ScoringOptions()))
    assert gained.overall.interval.estimate == 0.5
    assert after.only_in_references == {"kidney": 1}


def test_the_brush_begins_with_the_same_automatic_result_and_there_is_none_without() -> None:
    one = case({1: CUBE}, {1: "liver"})
    found = corrected(one, ClickProtocol(clicks=3))
    (curve,), (brush,) = found.curves, found.brush
    assert brush.scores[0] == curve.scores[0]
    assert len(brush.scores) == 4
    assert not corrected(one, FROM_NOTHING).brush
