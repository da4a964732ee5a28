"""Probes: how much of a data set's labels frozen features hold, beside what needs no learning.

Of patches: what share of each is which structure, learnt from some cases and asked of others; the answers are
interpolated to pixels, as many of which are taken as gives the largest Dice to be expected (``dice_threshold``:
by the largest share alone nothing small would ever be found). Of whole images: their class. Beside an encoder
stand one of the same sizes that has learnt nothing, what knows the place alone (or a thumbnail), and chance.
Intervals are over cases that nothing was learnt from.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from vesalius.data.case import UNKNOWN, Case
from vesalius.errors import UsageError
from vesalius.evaluation.frozen_features import FrozenFeatures, ImageFeatures
from vesalius.metrics.intervals import Difference, Interval, bootstrap_mean, paired_difference
from vesalius.metrics.overlap import dice_of_counts
from vesalius.metrics.probes import dice_threshold, fit_linear, nearest_neighbours

Said = Callable[[str], None]
"""Told in one line what was done."""
Probe = Callable[[Float[Tensor, "t d"]], Float[Tensor, "t o"]]

CHANCE, CEILING = "chance", "the patches' own shares"
"""Names of what no encoder has a part in: to take every pixel, which is the best without looking; and what would
come of the true share of every patch."""
HELD_OUT = 5
"""One in so many cases (of images: one in so many of a class) chooses the linear probe's penalty."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How much is looked at."""

    slices: int = 24
    """Slices of a case, evenly spaced."""
    bank: int = 20_000
    """Patches of all cases that nearest neighbours are sought among."""
    patches: int = 20_000
    """Patches of all cases that the linear map is found on."""
    neighbours: int = 20
    seed: int = 0
    """Of the patches that are kept, and of the intervals."""

    def __post_init__(self) -> None:
        if min(self.slices, self.bank, self.patches, self.neighbours) < 1:
            raise UsageError(expected="at least one slice, patch and neighbour", got=str(self), do="ask for more")


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """How good one probe of one encoder is.

    Args:
        features: Whose: the encoder's name, or of what stands beside it.
        probe: ``k-NN`` or ``linear``; empty for what learns nothing.
        values: Of each case and class: Dice in [0, 1], NaN where a case's slices do not show it; of images, 1 where
            the answer is right, else 0, under the image's own class and NaN under the others.
    """

    features: str
    probe: str
    values: Float[np.ndarray, "n c"]

    def mean(self, seed: int = 0) -> Interval | None:
        """Return the mean over classes of the mean over cases."""
        return bootstrap_mean(self.values, seed=seed)


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """What was measured.

    Args:
        measure: ``Dice``, or the accuracy.
        classes: The columns of the values.
        cases: Their rows.
        scores: Of each encoder and probe; the one that is judged comes first.
        options: How much was looked at.
    """

    measure: str
    classes: tuple[str, ...]
    cases: tuple[str, ...]
    scores: tuple[ProbeScores, ...]
    options: ProbeOptions

    def gains(self) -> Iterator[tuple[ProbeScores, ProbeScores, Difference]]:
        """Yield each probe of the first encoder, the same probe of another, and what the first gives more."""
        judged = self.scores[0].features
        for first in (one for one in self.scores if one.features == judged):
            for other in (one for one in self.scores if one.features != judged and one.probe == first.probe):
                gain = paired_difference(other.values, first.values, seed=self.options.seed)
                if gain is not None:
                    yield first, other, gain

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        seed = self.options.seed
        return {
            "measure": self.measure,
            "classes": list(self.classes),
            "cases": len(self.cases),
            "options": vars(self.options),
            "scores": [
                {
                    "features": one.features,
                    "probe": one.probe,
                    "mean": _plain(one.mean(seed)),
                    "classes": {
                        name: _plain(bootstrap_mean(one.values[:, column], seed=seed))
                        for column, name in enumerate(self.classes)
                    },
                }
                for one in self.scores
            ],
            "gains": [
                {
                    "of": first.features,
                    "over": other.features,
                    "probe": first.probe,
                    **(_plain(gain.interval) or {}),
                    "better": gain.better,
                    "worse": gain.worse,
                }
                for first, other, gain in self.gains()
            ],
        }


def probe_segmentation(
    encoders: Mapping[str, tuple[FrozenFeatures, Sequence[Case], Sequence[Case]]],
    classes: Mapping[int, str],
    options: ProbeOptions,
    *,
    said: Said = lambda _: None,
) -> ProbeReport:
    """Learn structures from the patches of some cases, and find them in others.

    Args:
        encoders: Name -> encoder, cases to learn from, cases to be judged on; both on the encoder's grid, the same
            cases for each. The first is the one that is judged.
        classes: Class id -> name, of structures that were looked for in all of these cases; all else is background.
        options: How much is looked at.
        said: Told after each encoder.

    Raises:
        UsageError: If there are no cases, or a class was not looked for in one.
    """
    scores: list[ProbeScores] = []
    ids, names = tuple(classes), tuple(classes.values())
    judged: Sequence[Case] = ()
    for name, (features, learnt, judged) in encoders.items():
        _check(learnt, judged, ids)
        probes = _learnt_from_patches(features, learnt, ids, options)
        values = _found_in_cases(features, probes, judged, ids, options)
        scores += [ProbeScores(name, probe, values[probe]) for probe in probes]
        if not any(one.features == CHANCE for one in scores):
            floor = [ProbeScores(kind, "", values[kind]) for kind in (CHANCE, CEILING)]
            scores += floor
        said(f"{name}: {len(learnt)} cases learnt from, {len(judged)} judged on")
    beside = [one for one in scores if one.features in (CHANCE, CEILING)]
    ordered = [one for one in scores if one not in beside] + beside
    return ProbeReport("Dice", names, tuple(case.name for case in judged), tuple(ordered), options)


def probe_images(
    encoders: Mapping[str, ImageFeatures],
    learnt: tuple[Float[Tensor, "b h w"], Integer[Tensor, " b"]],
    judged: tuple[Float[Tensor, "n h w"], Integer[Tensor, " n"]],
    classes: Sequence[str],
    options: ProbeOptions,
    *,
    said: Said = lambda _: None,
) -> ProbeReport:
    """Learn the class of whole images, and tell that of others.

    Args:
        encoders: Name -> encoder; the first is the one that is judged.
        learnt: Images in Hounsfield units and their classes, to learn from.
        judged: The same, to be judged on.
        classes: Their names, by number.
        options: How much is looked at.
        said: Told after each encoder.
    """
    scores = []
    shares = functional.one_hot(learnt[1].long(), len(classes)).float()
    truth = judged[1].numpy()
    held_out = _one_in_so_many(learnt[1])
    for name, encoder in encoders.items():
        known, asked = encoder.of_images(learnt[0]), encoder.of_images(judged[0])
        probes: dict[str, Probe] = {
            "k-NN": nearest_neighbours(known, shares, neighbours=options.neighbours),
            "linear": fit_linear(known, shares, held_out=held_out),
        }
        for kind, probe in probes.items():
            is_right = probe(asked).argmax(dim=1).numpy() == truth
            scores.append(ProbeScores(name, kind, _by_class(is_right, truth, len(classes))))
        said(f"{name}: {len(known)} images learnt from, {len(asked)} judged on")
    chance = np.full(truth.shape, 1 / len(classes))
    scores.append(ProbeScores(CHANCE, "", _by_class(chance, truth, len(classes))))
    cases = tuple(str(number) for number in range(len(truth)))
    return ProbeReport("accuracy, mean over classes", tuple(classes), cases, tuple(scores), options)


def evenly_spaced(count: int, total: int) -> list[int]:
    """Return at most so many of the numbers below ``total``, evenly spaced and away from both ends."""
    count = min(count, total)
    return [int((number + 0.5) * total / count) for number in range(count)]


def patch_shares(
    labels: Integer[Tensor, "k h w"], ids: Sequence[int], patch: int
) -> tuple[Float[Tensor, "k o y x"], Float[Tensor, "k y x"]]:
    """Return what share of each patch is background or which class, and what share of it is known.

    Args:
        labels: Class ids and UNKNOWN; anything else is background.
        ids: Class ids, in the order of the shares; the background comes before them.
        patch: Pixels along each side; sides are filled up to whole patches with what is unknown.
    """
    right, bottom = (-side % patch for side in (labels.shape[2], labels.shape[1]))
    filled = functional.pad(labels, (0, right, 0, bottom), value=UNKNOWN)
    is_known = (filled != UNKNOWN).float()
    masks = torch.stack([(filled == label).float() for label in ids], dim=1)  # [k o h w]
    masks = torch.cat([is_known[:, None] - masks.sum(dim=1, keepdim=True), masks], dim=1)
    known = functional.avg_pool2d(is_known[:, None], patch)
    shares = functional.avg_pool2d(masks, patch) / known.clamp_min(1e-6)
    return shares, known[:, 0]


def _learnt_from_patches(
    features: FrozenFeatures, cases: Sequence[Case], ids: Sequence[int], options: ProbeOptions
) -> dict[str, Probe]:
    """Return both probes, learnt from an even share of every case's patches."""
    rng = np.random.default_rng(options.seed)
    most = -(-max(options.bank, options.patches) // len(cases))
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for number, case in enumerate(cases):
        slices = evenly_spaced(options.slices, case.labels.shape[2])
        shares, known = patch_shares(_labels(case, slices), ids, features.patch)
        rows = rearrange(features.of_slices(case, slices), "k d y x -> (k y x) d")
        of_rows = rearrange(shares, "k o y x -> (k y x) o")
        usable = (known.flatten() > 0.5).nonzero().flatten().numpy()
        chosen = torch.from_numpy(rng.permutation(usable)[:most])
        is_held_out = torch.full((len(chosen),), number % HELD_OUT == HELD_OUT - 1)
        kept.append((rows[chosen], of_rows[chosen], is_held_out))
    known_rows, known_shares, held_out = (torch.cat(parts) for parts in zip(*kept, strict=True))
    order = torch.from_numpy(rng.permutation(len(known_rows)))
    bank, learnt = order[: options.bank], order[: options.patches]
    return {
        "k-NN": nearest_neighbours(known_rows[bank], known_shares[bank], neighbours=options.neighbours),
        "linear": fit_linear(known_rows[learnt], known_shares[learnt], held_out=held_out[learnt]),
    }


def _found_in_cases(
    features: FrozenFeatures,
    probes: Mapping[str, Probe],
    cases: Sequence[Case],
    ids: Sequence[int],
    options: ProbeOptions,
) -> dict[str, Float[np.ndarray, "n c"]]:
    """Return the Dice of every case and class: of each probe, of chance, and of the patches' own shares."""
    dice: dict[str, list[list[float]]] = {name: [] for name in (*probes, CHANCE, CEILING)}
    for case in cases:
        slices = evenly_spaced(options.slices, case.labels.shape[2])
        labels = _labels(case, slices)
        shares, _ = patch_shares(labels, ids, features.patch)
        rows = rearrange(features.of_slices(case, slices), "k d y x -> (k y x) d")
        size = {"y": shares.shape[2], "x": shares.shape[3]}
        answers = {name: rearrange(probe(rows), "(k y x) o -> k o y x", **size) for name, probe in probes.items()}
        for name, answer in {**answers, CEILING: shares}.items():
            dice[name].append(_dice(pixels_of(answer, features.patch, labels), labels, ids))
        known = int((labels != UNKNOWN).sum())
        sizes = [int((labels == label).sum()) for label in ids]
        dice[CHANCE].append([dice_of_counts(size, known, size) if size else np.nan for size in sizes])
    return {name: np.array(rows, dtype=np.float64) for name, rows in dice.items()}


def pixels_of(
    shares: Float[Tensor, "k o y x"], patch: int, like: Integer[Tensor, "k h w"]
) -> Integer[Tensor, "k h w"]:
    """Return which class each pixel is by the shares of its patch and the next: 0 is background.

    A pixel is the class whose share lies farthest above its own threshold, as a ratio.

    Args:
        shares: Of background and classes.
        patch: Pixels along each side.
        like: Slices of the size that is wanted; what was filled up is cut off.
    """
    fine = functional.interpolate(shares, scale_factor=float(patch), mode="bilinear")
    fine = fine[:, 1:, : like.shape[1], : like.shape[2]]
    thresholds = torch.tensor([dice_threshold(fine[:, number].flatten()) for number in range(fine.shape[1])])
    ratios, which = (fine / thresholds.clamp_min(1e-12)[:, None, None]).max(dim=1)
    return torch.where(ratios >= 1, which + 1, 0)


def _dice(found: Integer[Tensor, "k h w"], labels: Integer[Tensor, "k h w"], ids: Sequence[int]) -> list[float]:
    """Return the Dice of every class over the known pixels of all slices; NaN where it is absent."""
    is_known = labels != UNKNOWN

    def count(mask: Bool[Tensor, "k h w"]) -> int:
        return int((mask & is_known).sum())

    dice = []
    for number, label in enumerate(ids, start=1):
        shared, taken, there = (found == number) & (labels == label), found == number, labels == label
        dice.append(dice_of_counts(count(shared), count(taken), count(there)) if count(there) else np.nan)
    return dice


def _labels(case: Case, slices: Sequence[int]) -> Integer[Tensor, "k h w"]:
    chosen = np.asarray(case.labels[:, :, :])[:, :, list(slices)]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(chosen, 2, 0)).astype(np.int64))


def _by_class(
    values: Bool[np.ndarray, " n"] | Float[np.ndarray, " n"], truth: Integer[np.ndarray, " n"], count: int
) -> Float[np.ndarray, "n c"]:
    table = np.full((len(truth), count), np.nan)
    table[np.arange(len(truth)), truth] = values
    return table


def _one_in_so_many(classes: Integer[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Choose every so many-th image of each class."""
    chosen = torch.zeros(len(classes), dtype=torch.bool)
    for label in set(classes.tolist()):
        chosen[(classes == label).nonzero().flatten()[HELD_OUT - 1 :: HELD_OUT]] = True
    return chosen


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else vars(interval)


def _check(learnt: Sequence[Case], judged: Sequence[Case], ids: Sequence[int]) -> None:
    missing = [case.name for case in (*learnt, *judged) if not set(ids) <= case.annotated]
    if not learnt or not judged or not ids or missing:
        raise UsageError(
            expected="cases to learn from and others to judge on, with classes that were looked for in all of them",
            got=f"{len(learnt)} and {len(judged)} cases, {len(ids)} classes, not looked for in {missing[:4]}",
            do="leave those cases or classes out",
        )
