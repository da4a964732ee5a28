"""The task of VISTA3D: windows of partly labelled cases, asked for classes by name, for objects by clicks, or both.

Each window of a sample is changed as ``Augmentation`` says. By class prompts it is asked for what lies in it, what
was looked for and is absent, and what nobody looked for. By clicks it is asked for some of its objects over a few
rounds: a later round adds clicks on the network's own errors.

Deliberate differences from VISTA3D: a sample may hold several windows (MONAI's sampler refuses two); rounds are not
steps of the optimiser, but a window's number of rounds is drawn and it learns from the last, so that a step depends
on its seed and the weights alone, a resumed run ends bit for bit alike, and encoder and decoder run once for all
rounds instead of once for each; the background is never asked for.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from vesalius.data.case import Case
from vesalius.engine.task import Outcome
from vesalius.errors import UsageError
from vesalius.geometry.boxes import Box
from vesalius.models.promptable import Promptable
from vesalius.prompts.encode import ObjectClicks, encode_clicks
from vesalius.spec import ModelSpec
from vesalius.training.click_sampling import (
    ClickedObject,
    click_targets,
    clicks_on_errors,
    first_clicks,
    joined,
    objects_in,
    with_lumps,
)
from vesalius.training.losses import cross_entropy_loss, dice_loss, recall_loss, squared_dice_loss
from vesalius.training.mask_sums import MaskSums, sums_of_features, sums_of_logits
from vesalius.training.overlaps import Overlaps
from vesalius.training.prompt_sampling import ClassQuestion, ask, known, targets
from vesalius.training.recipes import Loss, VistaRecipe
from vesalius.training.supervoxel_targets import changed_objects
from vesalius.training.window_cutting import CutWindow, Painter, Recontrast, WindowCutter

Terms = dict[str, Tensor]

_TRIES = 50
"""Windows that are drawn in search of something to ask for before another kind of prompt is tried."""


@dataclass(frozen=True, eq=False)
class PromptedWindow:
    """One window, and what it is asked for.

    Args:
        image: Intensities in 0..1.
        labels: Class ids, UNKNOWN, UNSURE, 0.
        question: The class prompts; None for a window without.
        objects: What is clicked on; none for a window without clicks.
        clicks: The first clicks on each object.
        rounds: How many rounds of clicks, the first included.
        seed: Where the places of later clicks come from.
        group: Where the case comes from.
    """

    image: Float[Tensor, "1 i j k"]
    labels: Integer[Tensor, "i j k"]
    question: ClassQuestion | None
    objects: tuple[ClickedObject, ...]
    clicks: tuple[ObjectClicks, ...]
    rounds: int
    seed: int
    group: str


@dataclass(frozen=True, eq=False)
class VistaSample:
    """Windows that pass the network together."""

    windows: tuple[PromptedWindow, ...]


class Vista3DTask:
    """What is asked of windows, and how wrong the answers are.

    Args:
        cases: Prepared cases on the spec's grid. Where they have supervoxels (0 in air), objects that are clicked
            on may become others; where they have pseudo labels, these stand in for what nobody looked for, if the
            recipe says so (``pseudo_targets``).
        spec: Says spacing, Hounsfield window and vocabulary.
        recipe: Says everything else.
        mirrored: Class id -> the id it becomes when left and right are swapped, or UNKNOWN.
        paint: Makes the image of a case that has none.
        recontrast: Group -> what moves its scans to another phase of contrast.

    Raises:
        UsageError: If cases, groups, vocabulary and recipe do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        spec: ModelSpec,
        *,
        recipe: VistaRecipe,
        mirrored: Mapping[int, int] | None = None,
        paint: Painter | None = None,
        recontrast: Mapping[str, Recontrast] | None = None,
    ) -> None:
        self._overlaps = Overlaps.of(spec.vocabulary, novel=recipe.novel)
        self._click_targets = click_targets(spec, self._overlaps)
        self._recipe = recipe
        _check(cases, recipe, spec, self._overlaps)
        self._cutter = WindowCutter(
            cases,
            spec,
            recipe=recipe,
            mirrored=mirrored,
            paint=paint,
            recontrast=recontrast,
        )
        if recipe.drop_label == 1 and not recipe.clicking.painted and not self._cutter.has_objects:
            raise _refused("cases in which something that was looked for was found", f"{len(cases)} without")

    def draw(self, rng: np.random.Generator) -> VistaSample:
        """Draw windows, change them, and choose what they are asked for."""
        return VistaSample(tuple(self._draw_window(rng) for _ in range(self._recipe.batch)))

    def _draw_window(self, rng: np.random.Generator) -> PromptedWindow:
        """Draw a window, and its kind of prompt; by name, where nothing was found to click on alone."""
        recipe = self._recipe
        wants_classes = bool(rng.random() >= recipe.drop_label)
        wants_clicks = not wants_classes or bool(rng.random() >= recipe.drop_point)
        window = self._sought(rng, wants_classes=wants_classes, wants_clicks=wants_clicks)
        if window is None and not wants_classes and recipe.drop_label < 1:
            window = self._sought(rng, wants_classes=True, wants_clicks=True)
        if window is None:
            raise _refused("cases in which something that was looked for was found", f"{_TRIES} windows without")
        return window

    def _sought(
        self, rng: np.random.Generator, *, wants_classes: bool, wants_clicks: bool
    ) -> PromptedWindow | None:
        """Draw windows until one has something that its kind of prompt can ask for; None if none of many has.

        One that is only clicked on comes from a case that holds an object, however few do: of a list of which one
        scan in twenty shows a lesion, one such window in eight would else find nothing in ``_TRIES``.
        """
        recipe = self._recipe
        paints = recipe.clicking.painted > 0 and not wants_classes
        with_objects = not (wants_classes or paints)
        if with_objects and not self._cutter.has_objects:
            return None
        for _ in range(_TRIES):
            lumps = int(rng.integers(recipe.clicking.painted + 1)) if paints else 0
            cut = self._cutter.cut(rng, lumps=lumps, with_objects=with_objects)
            question: ClassQuestion | None = None
            objects: tuple[ClickedObject, ...] = ()
            if wants_classes and cut.annotated:
                question = ask(
                    cut.labels,
                    cut.annotated,
                    self._overlaps,
                    recipe.prompting,
                    rng,
                    claimed=cut.claimed,
                    unsure=cut.unsure,
                )
            if wants_clicks:
                objects = self._objects(cut, rng)
            if question or objects:
                clicks = tuple(first_clicks(one, recipe.clicking, rng) for one in objects)
                rounds, seed = int(rng.integers(recipe.clicking.rounds)) + 1, int(rng.integers(2**63))
                return PromptedWindow(cut.image, cut.labels, question, objects, clicks, rounds, seed, cut.group)
        return None

    def _objects(self, cut: CutWindow, rng: np.random.Generator) -> tuple[ClickedObject, ...]:
        """Choose what is clicked on, and ask for some of it as something that has no name."""
        prompting = self._recipe.clicking
        objects = objects_in(
            cut.labels,
            cut.annotated,
            self._overlaps,
            self._click_targets,
            most=prompting.objects,
            rng=rng,
            claimed=cut.claimed,
            unsure=cut.unsure,
        )
        if cut.supervoxels is not None:
            objects = changed_objects(objects, cut.labels.numpy(), cut.supervoxels.numpy(), prompting, rng)
        objects = tuple(one.as_new() if rng.random() < prompting.as_new else one for one in objects)
        return objects if cut.lumps is None else with_lumps(objects, cut.lumps.numpy(), most=prompting.objects)

    def outcome(self, network: Promptable, sample: VistaSample) -> Outcome:
        """Ask the network for what the sample's windows are asked for, and compare; a mean over these."""
        device = next(network.parameters()).device
        images = torch.stack([window.image for window in sample.windows]).to(device)
        automatic, clicked = (
            None if some is None else _apart(some) for some in self._features(network, images, sample)
        )
        terms: dict[str, list[Tensor]] = {name: [] for name in self.weights(1.0)}
        watched: dict[str, list[float]] = {}
        asked: set[str] = set()
        for number, window in enumerate(sample.windows):
            own: Terms = {}
            if window.question is not None and automatic is not None:
                own |= self._class_terms(network, automatic[number], window, window.question)
                if window.question.present:
                    watched.setdefault(f"dice of {window.group}", []).append(float(own["dice"].detach()))
                asked |= _asked(own, present=window.question.present, loss=self._recipe.loss)
            if window.objects and clicked is not None:
                found = click_terms(network, clicked[number], window, loss=self._recipe.loss)
                own |= {f"click {name}": term for name, term in found.items()}
                asked |= {f"click {name}" for name in found}
                clicked_dice = float(own["click dice"].detach())
                watched.setdefault(f"click dice, round {window.rounds}", []).append(clicked_dice)
            for name, term in own.items():
                terms[name].append(term)
        zero = images.new_zeros(())
        means = {name: torch.stack(some).mean() if some else zero for name, some in terms.items()}
        seen = {name: sum(some) / len(some) for name, some in watched.items()}
        return Outcome(means, seen, frozenset(means.keys() - asked))

    def _features(
        self, network: Promptable, images: Tensor, sample: VistaSample
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the features of each branch that is asked, from one pass of the encoder."""
        asks_classes = any(window.question is not None for window in sample.windows)
        asks_clicks = any(window.objects for window in sample.windows)
        if asks_classes and asks_clicks:
            return network.both_features(images)
        return (network.mapped_features(images), None) if asks_classes else (None, network.point_features(images))

    def _class_terms(
        self, network: Promptable, features: Tensor, window: PromptedWindow, question: ClassQuestion
    ) -> Terms:
        vectors = network.class_vectors(question.class_ids.to(features.device))
        labels = window.labels.to(features.device)
        wanted, is_known = (read(labels, question, self._overlaps) for read in (targets, known))
        masks = sums_of_features(features, vectors, wanted, is_known)
        return mask_terms(masks, present=question.present, loss=self._recipe.loss)

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the weight of every term that the recipe's prompts have; that of recall falls with the rate."""
        recipe = self._recipe
        own = {"dice": 1.0, "cross_entropy": 1.0}
        if recipe.loss == "vesalius":
            own["recall"] = rate * recipe.recall
        weights = dict(own) if recipe.drop_label < 1 else {}
        if recipe.teaches_clicks:
            weights |= {f"click {name}": weight for name, weight in own.items()}
        return weights


def _apart(features: Float[Tensor, "b d i j k"]) -> Sequence[Float[Tensor, "d i j k"]]:
    """Look at each window alone; for a batch of one without a new map in the gradient, as indexing would fill."""
    return [features.squeeze(0)] if len(features) == 1 else features.unbind()


def mask_terms(masks: MaskSums, *, present: int, loss: Loss) -> Terms:
    """Compare masks with what they should be.

    Args:
        masks: Their sums, those of what lies in the window first.
        present: How many lie in the window.
        loss: VISTA3D's, whose Dice says nothing of the others, or ours.
    """
    entropy = cross_entropy_loss(masks)
    if loss == "vista3d":
        return {"dice": squared_dice_loss(masks), "cross_entropy": entropy}
    own = masks.first(present)
    return {"dice": dice_loss(own), "cross_entropy": entropy, "recall": recall_loss(own)}


def _asked(terms: Terms, *, present: int, loss: Loss) -> set[str]:
    """Return the terms that say something: of masks that are all empty, our loss's Dice and recall do not."""
    return {"cross_entropy"} if loss == "vesalius" and not present else set(terms)


def click_terms(
    network: Promptable, features: Float[Tensor, "d i j k"], window: PromptedWindow, *, loss: Loss
) -> Terms:
    """Click on a window's objects for as many rounds as it has, and compare the last answer.

    Nothing learns through the earlier rounds: they say only where the next clicks lie. Without an error left there
    is no later round.

    Args:
        network: With a click branch.
        features: What it decoded of the window.
        window: With at least one object.
        loss: As in ``mask_terms``.
    """
    rng = np.random.default_rng(window.seed)
    image_map = network.point_head.image_map(features[None])
    clicks: Sequence[ObjectClicks] = window.clicks
    for _ in range(window.rounds - 1):
        with torch.no_grad():
            found = (_point_logits(network, image_map.detach(), clicks) > 0).cpu().numpy()
        added = [clicks_on_errors(one, mask, rng) for one, mask in zip(window.objects, found, strict=True)]
        if not any(map(len, added)):
            break
        clicks = [joined(earlier, later) for earlier, later in zip(clicks, added, strict=True)]
    logits = _point_logits(network, image_map, clicks)
    masks, is_known = (
        torch.from_numpy(np.stack([getattr(one, name) for one in window.objects])).to(logits.device)
        for name in ("mask", "known")
    )
    return mask_terms(sums_of_logits(logits, masks, is_known), present=len(masks), loss=loss)


def _point_logits(
    network: Promptable, image_map: Float[Tensor, "1 d i2 j2 k2"], clicks: Sequence[ObjectClicks]
) -> Float[Tensor, "o i j k"]:
    i, j, k = (2 * side for side in image_map.shape[2:])
    encoded = encode_clicks(clicks, Box((0, 0, 0), (i, j, k)))
    tensors = (part.to(image_map.device) for part in (encoded.points_ijk, encoded.point_labels, encoded.supported))
    return network.point_head.logits(image_map, *tensors)[0].float()


def _check(cases: Sequence[Case], recipe: VistaRecipe, spec: ModelSpec, overlaps: Overlaps) -> None:
    for case in cases:
        strange = sorted(case.annotated - overlaps.trainable - set(recipe.novel))
        if strange:
            raise _refused("cases that name classes of the vocabulary", f"{strange} in {case.name}")
    asks_classes, asks_clicks = recipe.drop_label < 1, recipe.teaches_clicks
    if asks_classes > spec.vista.class_branch or asks_clicks > spec.vista.point_branch:
        raise _refused("prompts of a kind that the network has a branch for", spec.architecture)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="prepare the cases for this model, or change the recipe")
