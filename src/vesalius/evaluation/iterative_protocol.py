"""VISTA3D's published iterative clicks (``val_multigpu_point_iterative``), to compare with its zero-shot curves.

Each structure is clicked as one without a name: first at its centre, then once an iteration in the larger of what
is missing and what is too much, both eroded. As published, and unlike the honest budget of ``clicks.py``: what was
found in slices without truth is emptied before an error is looked for and before Dice is taken, and a curve holds
the best Dice so far, which no user could know. Clicks are made on the model's grid, Dice is taken on the scan's.

Preprocessing, windows and blending are the paper's; every window that holds a click is asked anew about all clicks
in it. Differences: a window without a click gives no vote (there the official point head says -9999, which drowns
its neighbours' votes); absent structures count, as 1, for nobody clicks on them; where no error survives erosion,
nobody clicks any more.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vesalius.errors import UsageError
from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.clicks import ClickCurve
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import Score, ScoringOptions, score_masks
from vesalius.evaluation.wanted import UNNAMED, Structure, Wanted
from vesalius.evaluation.window_protocols import largest_errors
from vesalius.geometry.boxes import Triple
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_points
from vesalius.inference.plan import Plan
from vesalius.inference.points import compute_image_map, segment_points, window_box
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.features import CACHE_BYTES, TensorCache
from vesalius.metrics.overlap import dice
from vesalius.models.promptable import Promptable
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.simulate import Click, centre_click
from vesalius.prompts.targets import ClickTarget, resolve_target
from vesalius.shapes import MaskArray
from vesalius.views.page import number, table

CLICKS = 80
"""Of the published configurations."""
_UNSEEN = -9999.0
"""The logit where no window was asked."""
_SHOWN = (1, 2, 3, 5, 10, 20, 40, 80)


@dataclass(frozen=True, kw_only=True)
class IterativeEvaluation:
    """What was measured.

    Args:
        clicks: How many a structure could get.
        options: How it was measured.
        curves: Best score so far after 0, 1, 2... clicks of every structure of every case.
        skipped: Classes of references that cannot be clicked -> in how many cases.
        patients: Case -> whom it shows, where that is known.
    """

    clicks: int
    options: ScoringOptions
    curves: tuple[ClickCurve, ...]
    skipped: Mapping[str, int]
    patients: Mapping[str, str] = field(default_factory=dict)

    def evaluation(self) -> Evaluation:
        """Return the evaluation of the best masks of all clicks."""
        return Evaluation(
            scores=tuple(curve.after(self.clicks) for curve in self.curves),
            options=self.options,
            only_in_references=self.skipped,
            only_in_results={},
            patients=self.patients,
        )

    def best_dice(self, clicks: int) -> float:
        """Return the mean, over structures, of their means over cases, of the best Dice of so many clicks."""
        by_name: dict[str, list[float]] = {}
        for curve in self.curves:
            score = curve.after(clicks)
            by_name.setdefault(score.name, []).append(score.dice)
        return float(np.mean([np.mean(values) for values in by_name.values()])) if by_name else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON states it."""
        return {
            "best_dice_so_far": [round(self.best_dice(n), 5) for n in range(self.clicks + 1)]
            if self.curves
            else [],
            "curves": [
                {
                    "case": curve.scores[0].case,
                    "class": curve.scores[0].name,
                    "best_dice_so_far": [round(score.dice, 5) for score in curve.scores],
                }
                for curve in self.curves
            ],
        }

    def section(self) -> str:
        """Return the part of a page that shows the curve as a table."""
        shown = [n for n in dict.fromkeys((*_SHOWN, self.clicks)) if n <= self.clicks]
        rows = [[number(n, "d"), number(self.best_dice(n), ".3f")] for n in shown]
        return table("Best Dice so far, slices without truth emptied", ["clicks", "Dice"], rows)


def evaluate_iteratively(
    segmenter: Segmenter,
    cases: Iterable[ReferenceCase],
    *,
    clicks: int = CLICKS,
    options: ScoringOptions | None = None,
    how: SegmentOptions | None = None,
    on_structure: Callable[[str], None] = lambda _: None,
) -> IterativeEvaluation:
    """Measure a model by the published iterative protocol, on every structure of every case.

    Args:
        segmenter: The model.
        cases: Scans with their references.
        clicks: How many each structure may get, at least 1.
        options: How to measure, and which classes.
        how: Memory, and whether to go on outside what the model was made for.
        on_structure: Hears ``case: structure`` before each.

    Raises:
        UsageError: If nobody may click.
        NoHeadError: If the model has no click branch.
        GeometryError: If a reference does not lie on its scan's voxels.
    """
    if clicks < 1:
        raise UsageError(expected="at least one click", got=str(clicks), do="correct --clicks")
    options = options or ScoringOptions()
    target = resolve_target(UNNAMED, segmenter.vocabulary, segmenter.spec.vista, {})
    curves, skipped, patients = [], Counter[str](), dict[str, str]()
    for case in cases:
        patients |= case.patients
        wanted = Wanted.of(case, segmenter, classes=options.classes, is_new=True)
        skipped.update(wanted.skipped.keys())
        scan = None
        for one in wanted.structures():
            on_structure(f"{one.case}: {one.name}")
            scan = scan or _ClickedScan.of(segmenter, case, target, how or SegmentOptions())
            curves.append(_curve(scan, one, wanted.judged, clicks, options))
    return IterativeEvaluation(
        clicks=clicks, options=options, curves=tuple(curves), skipped=skipped, patients=patients
    )


def _curve(
    scan: _ClickedScan, one: Structure, judged: MaskArray | np.bool_, most: int, options: ScoringOptions
) -> ClickCurve:
    """Click on a structure; a score stays where no later mask has a better Dice."""

    def score(found: MaskArray) -> Score:
        return score_masks(one.case, one.name, found, one.mask, one.grid, tolerance_mm=options.tolerance_mm)

    truth = resample_points(one.mask.view(np.uint8), one.grid, scan.grid, nearest=True) > 0
    clicks: list[Click] = []
    scores = [score(np.zeros_like(one.mask))]
    seen = np.zeros_like(truth)
    while len(clicks) < most and (click := _next_click(truth, seen, is_first=not clicks)):
        clicks.append(click)
        logits = scan.logits(clicks)
        seen = _emptied(logits > 0, truth, scan.grid)
        native = resample_points(logits, scan.grid, one.grid, outside=_UNSEEN) > 0
        found = np.asarray(_emptied(native, one.mask, one.grid) & judged)
        is_better = dice(found, one.mask) > scores[-1].dice
        scores.append(score(found) if is_better else scores[-1])
    return ClickCurve(scores=tuple(scores), seconds=())


def _next_click(truth: MaskArray, seen: MaskArray, *, is_first: bool) -> Click | None:
    """Click at the centre of the structure at first, then of the larger error; None without any."""
    if is_first:
        return Click(_floats(centre_click(truth)), True) if truth.any() else None
    missing, excess = largest_errors(seen, truth)
    if not missing.any() and not excess.any():
        return None
    is_positive = np.count_nonzero(missing) >= np.count_nonzero(excess)
    return Click(_floats(centre_click(truth & ~seen if is_positive else seen & ~truth)), bool(is_positive))


def _floats(voxel: Triple) -> tuple[float, float, float]:
    i, j, k = voxel
    return float(i), float(j), float(k)


def _emptied(seen: MaskArray, truth: MaskArray, grid: Grid) -> MaskArray:
    """Return what was found without the axial slices in which there is no truth (the official ``remove_out``)."""
    axial = next(axis for axis, code in enumerate(grid.axis_codes) if code in "SI")
    others = tuple(axis for axis in range(3) if axis != axial)
    return np.asarray(seen & truth.any(axis=others, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class _ClickedScan:
    """A scan as the network sees it, which remembers what does not depend on clicks."""

    network: Promptable
    image: Float[Tensor, "i j k"]
    grid: Grid
    plan: Plan
    target: ClickTarget
    maps: TensorCache

    @classmethod
    def of(
        cls, segmenter: Segmenter, case: ReferenceCase, target: ClickTarget, how: SegmentOptions
    ) -> _ClickedScan:
        prepared, plan = segmenter.prepare(case.volume, (), replace(how, compat="paper", overlap=None))
        return cls(
            network=segmenter.network_for(plan),
            image=prepared.image,
            grid=prepared.grid,
            plan=plan,
            target=target,
            maps=TensorCache(CACHE_BYTES),
        )

    def logits(self, clicks: Sequence[Click]) -> Float32[np.ndarray, "i j k"]:
        """Return the blended logits of the windows that hold a click."""
        network, layout = self.network, self.plan.layout
        told = ObjectClicks(
            target=self.target,
            points_ijk=np.array([click.point_ijk for click in clicks]),
            positive=np.array([click.positive for click in clicks]),
        )

        def image_map(start: Triple) -> Tensor:
            return self.maps.get(start, partial(compute_image_map, network, self.image, start, layout.window_size))

        starts = [start for _, _, row in layout.rows() for start in row]
        (said,) = segment_points(
            network, self.image, [told], starts, window_size=layout.window_size, image_maps=image_map
        )
        total, weight = torch.zeros(layout.shape), torch.zeros(layout.shape)
        for start, logits in zip(said.starts, said.windows, strict=True):
            place, share = window_box(start, layout.window_size), layout.weights(start)
            total[place.slices] += share * logits
            weight[place.slices] += share
        blended = torch.where(weight > 0, total / weight.clamp(min=torch.finfo().tiny), _UNSEEN)
        return np.asarray(blended.numpy())
