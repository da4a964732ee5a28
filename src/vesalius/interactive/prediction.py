"""Predict what prompts change: the automatic branch for class prompts, the point head for clicks.

The mask of a structure is a function of its base mask and of all of its prompts: a class or mask prompt replaces
the base mask, clicks are merged into that. What one class prompt names is segmented together, what another names
apart from it, whenever they are said: so a prompt changes no structure but its own, and where the masks of two meet
the later prompt wins. Each click remembers the window it was first seen in, so a click that
is removed takes with it the window it brought.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float

from vesalius.geometry.boxes import Box, Triple, enclosing_box
from vesalius.geometry.morphology import label_regions
from vesalius.geometry.packed_mask import PackedMask
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.anchors import with_anchors
from vesalius.inference.compose import LabelChange
from vesalius.inference.extent import reached, silent
from vesalius.inference.merge import MaskChange, change_mask
from vesalius.inference.points import PointLogits, clicks_on_model_grid, window_starts
from vesalius.inference.pull import pulled
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.claims import with_claims
from vesalius.interactive.features import TensorCache
from vesalius.interactive.history import AutomaticMask, Placed, Result, SessionLabel, State
from vesalius.interactive.logits import ClickLogits
from vesalius.interactive.naming import click_target
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt
from vesalius.transforms.preprocess import Prepared

BaseMask = Callable[[SessionLabel], PackedMask]
"""A structure -> its mask before any prompt."""


class Predictor:
    """A segmenter at work on one volume; the volume is prepared once, when the first click asks for it.

    Args:
        segmenter: The network and its spec.
        volume: One channel.
        options: Of automatic segmentation.
        cache_bytes: Held at most for what the network has said.
    """

    def __init__(self, segmenter: Segmenter, volume: Volume, *, options: SegmentOptions, cache_bytes: int) -> None:
        self._segmenter = segmenter
        self._volume = volume
        self._options = options
        self._click_logits = ClickLogits(segmenter, cache_bytes)

    def predict(self, state: State, labels: Sequence[int], base_mask: BaseMask) -> State:
        """Return the state in which the results of some structures are those of their prompts.

        Args:
            state: Whose prompts count.
            labels: Of the structures.
            base_mask: Gives their masks before any prompt.
        """
        state = self._with_windows(state, labels)
        results = dict(state.results)
        automatic = self._automatic(state, labels)
        bases = {label: base_mask(state.labels[label]) for label in labels}
        starts = {label: self._start(state, label, automatic, bases[label]) for label in labels}
        changes = dict(self._clicked(state, labels, starts))
        for label in labels:
            prompts = state.prompts_of(label)
            results.pop(label, None)
            if prompts:
                change = _against(label, bases[label], starts[label], changes.get(label))
                results[label] = Result(prompts, state.rank_of(label), automatic.get(label), change)
        return with_claims(replace(state, results=results), self._volume.grid, lambda n: base_mask(state.labels[n]))

    @property
    def image_maps(self) -> TensorCache:
        """The image maps of the windows that were seen last."""
        return self._click_logits.image_maps

    @cached_property
    def _prepared(self) -> Prepared:
        return self._segmenter.prepare_whole(self._volume)

    def _automatic(self, state: State, labels: Sequence[int]) -> dict[int, AutomaticMask]:
        """Return what the last class prompts of structures ask for: the masks there are, and what is missing."""
        asked = {label: together for label in labels if (together := _asked_together(state, label))}
        known = {label: state.results[label].automatic for label in asked if label in state.results}
        found = {n: mask for n, mask in known.items() if mask is not None and mask.together == asked[n]}
        missing = [label for label in asked if label not in found]
        for together in dict.fromkeys(asked[label] for label in missing):
            masks = dict(_masks(self._segmenter(self._volume, together, options=self._options), together))
            for label in missing:
                class_id = state.labels[label].class_id
                if asked[label] == together and class_id is not None:
                    found[label] = AutomaticMask(masks[class_id], together)
        return found

    def _start(
        self, state: State, label: int, automatic: Mapping[int, AutomaticMask], base: PackedMask
    ) -> PackedMask:
        """Return what the clicks of a structure are merged into: its last class or mask prompt, or the base."""
        for placed in sorted(state.prompts_of(label), key=lambda placed: -placed.rank):
            if isinstance(placed.prompt, ClassPrompt):
                return automatic[label].mask
            if isinstance(placed.prompt, MaskPrompt):
                return placed.prompt.packed
        return base

    def _with_windows(self, state: State, labels: Sequence[int]) -> State:
        """Return the state in which every click of some structures has its window."""
        clicks = [placed for label in labels for placed in _clicks(state, label)]
        fresh = [placed for placed in dict.fromkeys(clicks) if placed not in state.window_of]
        if not fresh:
            return state
        points = self._points_ijk(fresh)
        place = partial(
            window_starts, shape=self._prepared.grid.shape, window_size=self._segmenter.spec.window_size
        )
        windows = (*state.windows, *place(points, taken=state.windows))
        homes = {
            placed: next(start for start in windows if not place(point[None], taken=(start,)))
            for placed, point in zip(fresh, points, strict=True)
        }
        return replace(state, windows=windows, window_of={**state.window_of, **homes})

    def _points_ijk(self, clicks: Sequence[Placed]) -> Float[np.ndarray, "n 3"]:
        """Return clicks in the voxels of the model's grid, moved onto its content."""
        grid, prepared = self._volume.grid, self._prepared
        return clicks_on_model_grid(
            self._own_points_ijk(clicks), grid=grid, model_grid=prepared.grid, content=prepared.content
        )

    def _own_points_ijk(self, clicks: Sequence[Placed]) -> Float[np.ndarray, "n 3"]:
        """Return clicks in the voxels of the volume, where they were made."""
        grid = self._volume.grid
        return np.asarray([c.prompt.point_ijk(grid) for c in clicks if isinstance(c.prompt, PointPrompt)])

    def _clicked(
        self, state: State, labels: Sequence[int], starts: Mapping[int, PackedMask]
    ) -> Iterator[tuple[int, MaskChange]]:
        """Yield what the clicks of each structure change in the mask they start from."""
        whole = Box((0, 0, 0), self._volume.grid.shape)
        for label in labels:
            windows = tuple(dict.fromkeys(state.window_of[placed] for placed in _clicks(state, label)))
            if windows:
                clicks = self._object_clicks(state, label)
                earlier = starts[label].within(whole)
                grids = {"model_grid": self._prepared.grid, "grid": self._volume.grid}
                content = self._prepared.content
                said = {
                    start: with_anchors(clicks, earlier, self._window(start), content=content, **grids)
                    for start in windows
                }
                logits = self._heard(clicks, said)
                points = self._own_points_ijk(_clicks(state, label))
                reach_mm = self._segmenter.spec.click_reach_mm
                yield label, change_mask(logits, earlier, points, clicks.positive, reach_mm=reach_mm, **grids)

    def _heard(self, clicks: ObjectClicks, said: Mapping[Triple, ObjectClicks]) -> PointLogits:
        """Return the logits of one object: the network's, moved by its clicks as the spec says.

        Args:
            clicks: Of the user.
            said: Start of a window -> what the network is told there.
        """
        spec, prepared = self._segmenter.spec, self._prepared
        asked = partial(self._click_logits.of, prepared.image, said)
        if spec.click_reach_mm is None:
            return asked()
        if spec.unnamed_trust is not None and not clicks.target.supported:
            heard = asked() if spec.unnamed_trust else silent(prepared.grid.shape, said, spec.window_size)
            seen = (prepared.image, prepared.grid.spacing_mm)
            return reached(heard, clicks, *seen, content=prepared.content, trust=spec.unnamed_trust)
        if spec.click_pull is None:
            return asked()
        return pulled(asked(), clicks, prepared.grid.spacing_mm, pull=spec.click_pull, mm=spec.click_reach_mm / 2)

    def _window(self, start: Triple) -> Box:
        i, j, k = self._segmenter.spec.window_size
        return Box(start, (start[0] + i, start[1] + j, start[2] + k))

    def _object_clicks(self, state: State, label: int) -> ObjectClicks:
        clicks = _clicks(state, label)
        architecture = self._segmenter.network.architecture
        target = click_target(state.labels[label], self._segmenter.vocabulary, architecture)
        positive = np.array([isinstance(c.prompt, PointPrompt) and c.prompt.positive for c in clicks], dtype=bool)
        return ObjectClicks(target=target, points_ijk=self._points_ijk(clicks), positive=positive)


def _clicks(state: State, label: int) -> list[Placed]:
    """Return the clicks on a structure in the order in which they were said: one that was moved comes last."""
    clicks = (placed for placed in state.prompts_of(label) if isinstance(placed.prompt, PointPrompt))
    return sorted(clicks, key=lambda placed: placed.rank)


def _asked_together(state: State, label: int) -> tuple[int, ...]:
    """Return the classes that the last class prompt of a structure names, this one among them; none without one."""
    asked = [placed for placed in state.prompts_of(label) if isinstance(placed.prompt, ClassPrompt)]
    last = max(asked, key=lambda placed: placed.rank, default=None)
    class_ids = (state.labels[one].class_id for one in last.labels) if last else ()
    return tuple(class_id for class_id in class_ids if class_id is not None)


def _masks(labels: LabelMap, class_ids: Sequence[int]) -> Iterator[tuple[int, PackedMask]]:
    """Yield the mask of each class of a segmentation, empty where it was not found."""
    regions = {
        label: (layer, region.box)
        for layer in (labels.data, *labels.overlaps.values())
        for label, region in label_regions(layer).items()
    }
    for class_id in class_ids:
        if class_id not in regions:
            yield class_id, PackedMask()
            continue
        layer, box = regions[class_id]
        yield class_id, PackedMask.of(layer[box.slices] == class_id, box.start)


def _against(label: int, base: PackedMask, start: PackedMask, change: MaskChange | None) -> LabelChange:
    """Return the change from a structure's base mask to what its prompts make of it."""
    box = enclosing_box([base.box, start.box, *([change.box] if change else [])]) or base.box
    before = base.within(box)
    after = start.within(box)
    if change is not None and not change.box.is_empty:
        part = after[change.box.relative_to(box.start).slices]
        part |= change.added
        part &= ~change.removed
    return LabelChange(label, PackedMask.of(after & ~before, box.start), PackedMask.of(before & ~after, box.start))
