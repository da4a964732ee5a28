"""VISTA3D's published click protocols, for comparison with its tables only: they look at the truth in every window.

*One click per window* (``val_multigpu_point_patch``): in each window each class that the truth has there is clicked
once, at its centre, so that a large organ gets dozens of clicks. *Oracle* (``val_multigpu_autopoint_patch``): in
each window and for each class the best by the truth of the automatic mask and of three rounds of clicks is kept. No
user can do either; ``clicks.py`` has an honest budget. The third published protocol is in ``iterative_protocol``.

Preprocessing, windows and blending are the paper's. Differences: with one click a window without truth of a class
gives no vote for it (there the official point head says -9999, which drowns its neighbours' votes); clicks are
merged with the automatic mask as users see it merged. Clicks of the oracle are drawn as in
``get_next_points_auto_point``: every round anew, from what the automatic mask gets wrong.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import ScoringOptions, score_masks
from vesalius.evaluation.wanted import UNNAMED, Wanted
from vesalius.geometry.boxes import Box, Triple
from vesalius.geometry.morphology import components, eroded
from vesalius.geometry.resample import resample_points
from vesalius.inference.merge import merge_clicks
from vesalius.inference.points import compute_image_map, segment_points
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.metrics.overlap import dice
from vesalius.models.promptable import Promptable
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.simulate import centre_click, draw_voxels
from vesalius.prompts.targets import ClickTarget, resolve_target
from vesalius.shapes import MaskArray

WindowProtocol = Literal["one-click-per-window", "oracle"]

_ROUNDS = 3


def evaluate_by_windows(
    segmenter: Segmenter,
    cases: Iterable[ReferenceCase],
    protocol: WindowProtocol,
    *,
    options: ScoringOptions | None = None,
    how: SegmentOptions | None = None,
    seed: int = 0,
    on_case: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure a model by a published protocol; structures that it has no name for are left out.

    Args:
        segmenter: The model.
        cases: Scans with their references.
        protocol: Which.
        options: How to measure, and which classes.
        how: Memory, and whether to go on outside what the model was made for.
        seed: Of the clicks of later rounds.
        on_case: Hears the name of each case before it is segmented.

    Raises:
        NoHeadError: If the model lacks a branch that is asked for.
        GeometryError: If a reference does not lie on its scan's voxels.
    """
    options = options or ScoringOptions()
    scores, unnamed, patients = [], Counter[str](), dict[str, str]()
    for case in cases:
        on_case(case.name)
        patients |= case.patients
        wanted = Wanted.of(case, segmenter, classes=options.classes)
        left_out = [name for name, target in wanted.targets.items() if target == UNNAMED]
        unnamed.update([*left_out, *wanted.skipped])
        truth = {one.name: one for one in wanted.structures() if one.name not in left_out}
        masks = {name: one.mask for name, one in truth.items()}
        found = segment_by_windows(segmenter, case, masks, protocol, how=how, seed=seed)
        for name, one in truth.items():
            seen = np.asarray(found[name] & wanted.judged)
            scores.append(score_masks(case.name, name, seen, one.mask, one.grid, tolerance_mm=options.tolerance_mm))
    return Evaluation(
        scores=tuple(scores), options=options, only_in_references=unnamed, only_in_results={}, patients=patients
    )


def segment_by_windows(
    segmenter: Segmenter,
    case: ReferenceCase,
    truth: Mapping[str, MaskArray],
    protocol: WindowProtocol,
    *,
    how: SegmentOptions | None = None,
    seed: int = 0,
) -> dict[str, MaskArray]:
    """Segment a scan with clicks that a published protocol takes from the truth.

    Args:
        segmenter: The model.
        case: The scan.
        truth: Structure -> where it is, on the scan's grid; the model has names for all.
        protocol: Which.
        how: Memory, and whether to go on outside what the model was made for.
        seed: Of the clicks of later rounds.

    Returns:
        Structure -> mask on the scan's grid.
    """
    if not truth:
        return {}
    spec, vocabulary = segmenter.spec, segmenter.vocabulary
    targets = {name: resolve_target(name, vocabulary, spec.vista, {}) for name in truth}
    options = replace(how or SegmentOptions(), compat="paper", overlap=None)
    asked = vocabulary.resolve([target.id for target in targets.values()])
    prepared, plan = segmenter.prepare(case.volume, asked, options)
    network = segmenter.network_for(plan)
    grids = case.volume.grid, prepared.grid
    there = {name: resample_points(mask.view(np.uint8), *grids, nearest=True) > 0 for name, mask in truth.items()}
    votes = {name: torch.zeros(plan.layout.shape) for name in truth}
    for start in (start for _, _, starts in plan.layout.rows() for start in starts):
        window = _Window(network, prepared.image, start, plan.layout.window_size)
        inside = {name: mask[window.box.slices] for name, mask in there.items()}
        rng = np.random.default_rng([seed, zlib.crc32(case.name.encode()), *start])
        said = _one_click(window, targets, inside) if protocol != "oracle" else _best(window, targets, inside, rng)
        share = plan.layout.weights(start)
        for name, logits in said:
            votes[name][window.box.slices] += share * logits
    back = (prepared.grid, case.volume.grid)  # the sign of a weighted sum is that of the mean
    return {
        name: resample_points((total > 0).numpy().view(np.uint8), *back, nearest=True) > 0
        for name, total in votes.items()
    }


@dataclass(frozen=True)
class _Window:
    """A window of the model's grid, and what the network says there."""

    network: Promptable
    image: Float[Tensor, "i j k"]
    start: Triple
    size: Triple

    @property
    def box(self) -> Box:
        (i, j, k), (width, height, depth) = self.start, self.size
        return Box(self.start, (i + width, j + height, k + depth))

    @cached_property
    def image_map(self) -> Float[Tensor, "1 d i2 j2 k2"]:
        return compute_image_map(self.network, self.image, self.start, self.size)

    def clicked(self, objects: Sequence[ObjectClicks]) -> list[Float[Tensor, "i j k"]]:
        """Return the logits of clicked objects; their clicks are in voxels of the window."""
        origin = np.asarray(self.start)
        moved = [replace(one, points_ijk=one.points_ijk + origin) for one in objects]
        maps = {self.start: self.image_map}
        found = segment_points(
            self.network, self.image, moved, [self.start], window_size=self.size, image_maps=maps.__getitem__
        )
        return [one.windows[0] for one in found]

    def automatic(self, class_ids: list[int]) -> Float[Tensor, "o i j k"]:
        """Return the logits of classes."""
        device = next(self.network.parameters()).device
        part = self.image[self.box.slices][None, None].to(device)
        with torch.inference_mode():
            return self.network.class_logits(part, torch.tensor(class_ids, device=device))[0].float().cpu()


_Said = Iterator[tuple[str, Float[Tensor, "i j k"]]]


def _one_click(window: _Window, targets: Mapping[str, ClickTarget], inside: Mapping[str, MaskArray]) -> _Said:
    names = [name for name, mask in inside.items() if mask.any()]
    objects = [
        ObjectClicks(
            target=targets[name],
            points_ijk=np.array([centre_click(inside[name])], dtype=np.float64),
            positive=np.array([True]),
        )
        for name in names
    ]
    yield from zip(names, window.clicked(objects) if objects else [], strict=True)


def _best(
    window: _Window,
    targets: Mapping[str, ClickTarget],
    inside: Mapping[str, MaskArray],
    rng: np.random.Generator,
) -> _Said:
    automatic = window.automatic([targets[name].id for name in inside])
    for (name, truth), logits in zip(inside.items(), automatic, strict=True):
        yield name, _best_round(window, targets[name], truth, logits, rng)


def _best_round(
    window: _Window,
    target: ClickTarget,
    truth: MaskArray,
    automatic: Float[Tensor, "i j k"],
    rng: np.random.Generator,
) -> Float[Tensor, "i j k"]:
    """Return the best by the truth of the automatic logits and of what each round of clicks makes of them."""
    seen = _mask(automatic)
    if not truth.any() and not seen.any():
        return automatic
    best, most = automatic, _merit(seen, truth)
    errors = largest_errors(seen, truth)
    for number in range(_ROUNDS):
        clicks = _clicks_of_round(target, seen, truth, errors, rng, is_first=number == 0)
        logits = _merged(window, clicks, automatic)
        merit = _merit(_mask(logits), truth)
        if merit > most:
            best, most = logits, merit
    return best


def _merit(seen: MaskArray, truth: MaskArray) -> float:
    """Return the Dice; where there is no truth, the fewer voxels the better."""
    return dice(seen, truth) if truth.any() else -float(np.count_nonzero(seen))


def largest_errors(seen: MaskArray, truth: MaskArray) -> tuple[MaskArray, MaskArray]:
    """Return the largest part that is missing and the largest in excess; without truth nobody asks: empty."""
    if not truth.any():
        return np.zeros_like(truth), np.zeros_like(truth)
    return _largest(eroded(truth & ~seen, outside=True)), _largest(eroded(seen & ~truth, outside=True))


def _clicks_of_round(
    target: ClickTarget,
    seen: MaskArray,
    truth: MaskArray,
    errors: tuple[MaskArray, MaskArray],
    rng: np.random.Generator,
    *,
    is_first: bool,
) -> ObjectClicks:
    """Draw the clicks of a round on the automatic mask.

    Without truth, one on what was found. First, one in the truth. Then one in the largest part that is missing, or
    where as much is in excess, one in the truth and one in the largest part of the excess.
    """
    missing, excess = errors
    if not truth.any():
        added, removed = truth, seen
    elif is_first:
        added, removed = truth, np.zeros_like(truth)
    elif np.count_nonzero(missing) <= np.count_nonzero(excess):
        added, removed = truth, excess
    else:
        added, removed = missing, np.zeros_like(truth)
    points = [draw_voxels(mask, 1, rng=rng, keep_away=False) for mask in (added, removed)]
    positive = np.repeat([True, False], [len(points[0]), len(points[1])])
    return ObjectClicks(target=target, points_ijk=np.concatenate(points).astype(np.float64), positive=positive)


def _largest(mask: MaskArray) -> MaskArray:
    """Return the component of most voxels; of an empty mask nothing."""
    numbered, _ = components(mask)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return np.asarray(mask & (numbered == int(sizes.argmax())))


def _merged(window: _Window, clicks: ObjectClicks, automatic: Float[Tensor, "i j k"]) -> Float[Tensor, "i j k"]:
    (clicked,) = window.clicked([clicks])
    changes = merge_clicks(_mask(automatic), _mask(clicked), clicks.points_ijk, clicks.positive)
    return torch.where(torch.from_numpy(changes[0] | changes[1]), clicked, automatic)


def _mask(logits: Float[Tensor, "i j k"]) -> MaskArray:
    mask: MaskArray = (logits > 0).numpy()
    return mask
