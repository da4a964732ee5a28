"""Benefit: whether a fine-tuned model finds more than what was there before it, on cases it did not learn from.

Before it there was the model it began with, for the classes that this knows in images of its modality, and for the
others the labels of the nearest drawn case (``evaluation.copied_labels``). Patients are counted, not scans:
several scans of one patient are averaged before anything is compared.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vesalius.data.datalists.record import DataList, ListedCase, Split
from vesalius.evaluation.benchmark import askable
from vesalius.evaluation.copied_labels import CopiedLabels
from vesalius.evaluation.matching import canonical
from vesalius.evaluation.references import ReferenceCase, read_references
from vesalius.evaluation.scores import score_case
from vesalius.evaluation.summary import interval_as_dict
from vesalius.geometry.volume import LabelMap
from vesalius.inference.segmenter import Segmenter, SegmentOptions, load
from vesalius.labels.vocabulary import Vocabulary
from vesalius.metrics.intervals import Difference, Interval, bootstrap_mean, paired_difference
from vesalius.spec import ModelSpec
from vesalius.training.cross_validation import Curve, Scores, unchosen_scores
from vesalius.training.finetune.tuning import Finetuning

COPIED = "copied labels"
JUDGING: tuple[Split, ...] = ("validation", "test")
"""Splits whose labelled cases say how good a model is that was made; the surest last."""
_HOW = SegmentOptions(unvalidated=True)


@dataclass(frozen=True, kw_only=True)
class Benefit:
    """Two answers to the same cases.

    Args:
        on: Which cases, and what they were not used for.
        tuned: Dice of the fine-tuned model.
        before: Dice of what was there before it.
        against: Class -> what that was: the name of a model, or ``COPIED``.
        chose_the_weights: Whether these cases chose what is judged by them, which flatters it.
        remark: What else to know of what was there before.
        people: Case -> whom it shows; a case that is not named here is somebody else's.
    """

    on: str
    tuned: Scores
    before: Scores
    against: Mapping[str, str]
    chose_the_weights: bool = False
    remark: str = ""
    people: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def difference(self) -> Difference | None:
        """Tuned minus before, of the mean over classes; None without any case."""
        return paired_difference(*(self._table(scores) for scores in (self.before, self.tuned)))

    def dice_of(self, name: str) -> Interval | None:
        """Return the tuned model's Dice of a class, over cases."""
        return bootstrap_mean(self._table(self.tuned)[:, list(self.against).index(name)])

    def words(self) -> str:
        """Say in a line whether it helped; only the difference where so few cases give no interval of it."""
        found, dice = self.difference, bootstrap_mean(self._table(self.tuned))
        if dice is None:
            return "nothing to compare"
        if found is None:
            return f"Dice {dice.estimate:.3f}, and nothing to compare it with; n = {self._count(dice.n)}, {self.on}"
        rival, interval = " and ".join(sorted(set(self.against.values()))), found.interval
        sure = "" if interval.low is None else f" ({interval.low:+.3f} to {interval.high:+.3f})"
        verdict = "helped" if interval.estimate > 0 else "did not help"
        if not found.is_clear:
            verdict = "so few cases decide nothing" if interval.low is None else "no clear difference"
        return (
            f"{verdict}: Dice {dice.estimate:.3f}, {interval.estimate:+.3f}{sure} over {rival}; "
            f"n = {self._count(interval.n)}, {self.on}" + (f"; {self.remark}" if self.remark else "")
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON states it."""
        found = self.difference
        return {
            "on": self.on,
            "chose_the_weights": self.chose_the_weights,
            "against": dict(self.against),
            "remark": self.remark,
            "difference": found and {
                **(interval_as_dict(found.interval) or {}),
                "better": found.better,
                "worse": found.worse,
                "is_clear": found.is_clear,
            },
            "dice": {name: interval_as_dict(self.dice_of(name)) for name in self.against},
            "cases": {
                case: {"tuned": dict(own), "before": dict(self.before[case])} for case, own in self.tuned.items()
            },
        }  # fmt: skip

    def counted(self) -> str:
        """Return of how many cases it is, or of how many patients with how many scans."""
        scans, people = len(self.tuned), len(self._by_person())
        some = "1 case" if scans == 1 else f"{scans} cases"
        return some if people == scans else f"{people} patients with {scans} scans"

    def _count(self, n: int) -> str:
        scans = len(self.tuned)
        return str(n) if len(self._by_person()) == scans else f"{n} patients with {scans} scans"

    def _by_person(self) -> list[list[str]]:
        """Return the cases of each person."""
        cases: dict[tuple[str, str], list[str]] = {}
        for case in self.tuned:
            cases.setdefault(self.people.get(case, ("case", case)), []).append(case)
        return list(cases.values())

    def _table(self, scores: Scores) -> Float[np.ndarray, "n c"]:
        """Return the Dice of each person and class: the mean over the scans that have it, NaN where none has."""
        of_person = self._by_person()
        table = np.full((len(of_person), len(self.against)), np.nan)
        for row, cases in enumerate(of_person):
            for column, name in enumerate(self.against):
                found = [scores[case][name] for case in cases if name in scores[case]]
                table[row, column] = np.mean(found) if found else np.nan
        return table


def benefit_in_folds(tuning: Finetuning, model: str | Path, curves: Sequence[Curve], *, device: str) -> Benefit:
    """Compare on held-out cases, each fold's at the step that the others choose; labels are copied from the rest.

    What the model expects of an image is the same in all folds: fitted once, to all cases (``tuning.begin``).

    Args:
        tuning: With folds.
        model: To begin with.
        curves: Of the folds.
        device: Where that model runs.
    """
    rival = _rival_of(tuning, model, device)
    tuned = {case: _spelled(scores, list(rival.against)) for case, scores in unchosen_scores(curves).items()}
    before: dict[str, Mapping[str, float]] = {}
    for course in tuning.folds:
        before |= rival.scores(course.listed, course.listed.split("validation"), course.listed.split("training"))
    on = f"held out in {len(curves)} folds, steps chosen by the other folds; voxels and window fitted to all cases"
    people = {case.name: case.person for case in tuning.course.listed.cases}
    return Benefit(on=on, tuned=tuned, before=before, against=rival.against, remark=rival.remark, people=people)


def benefits_after(
    listed: DataList,
    rival: Rival,
    folder: Path,
    *,
    chosen_by: Split | None = None,
    device: str,
    on_measuring: Callable[[str], None] = lambda _: None,
) -> Iterator[Benefit]:
    """Compare the model in a run folder on the labelled validation cases and on the test cases of a list.

    Args:
        listed: The list; labels are copied from its training cases.
        rival: What was there before.
        folder: The run folder, which is a model now.
        chosen_by: The split whose cases chose the weights, if any did.
        device: Where the model runs.
        on_measuring: Hears what is measured next.
    """
    tuned = None
    for split in JUDGING:
        cases = _labelled(listed.split(split))
        if not cases:
            continue
        on_measuring(f"measuring {len(cases)} {split} case{'s' if len(cases) > 1 else ''}")
        tuned = tuned or load(folder, device=device)
        scores = {
            case.name: _found_by(tuned, case, list(rival.against))
            for case in read_references(listed, cases, tuned.vocabulary)
        }
        chosen = split == chosen_by
        yield Benefit(
            on=f"{split} cases" + (", which chose the weights" if chosen else ""),
            tuned=scores,
            before=rival.scores(listed, cases, listed.split("training")),
            against=rival.against,
            chose_the_weights=chosen,
            remark=rival.remark,
            people={case.name: case.person for case in cases},
        )


def benefits_of(
    tuning: Finetuning,
    model: str | Path,
    folder: Path,
    curves: Sequence[Curve],
    *,
    device: str,
    on_measuring: Callable[[str], None] = lambda _: None,
) -> list[Benefit]:
    """Return all that can be said of a model that was made, what is surest last.

    Args:
        tuning: What was trained.
        model: To begin with.
        folder: The run folder, which is a model now.
        curves: Of the folds; none where nothing was folded.
        device: Where the models run.
        on_measuring: Hears what is measured next.
    """
    found = []
    if curves:
        on_measuring("measuring what was there before, on the held-out cases")
        found.append(benefit_in_folds(tuning, model, curves, device=device))
    listed = tuning.course.listed
    if answers_after(listed, ()):
        rival = _rival_of(tuning, model, device)
        found += benefits_after(
            listed, rival, folder, chosen_by="validation", device=device, on_measuring=on_measuring
        )
    return found


def answers_of(tuning: Finetuning) -> int:
    """Return how many whole scans are labelled and measured by ``benefits_of``: by networks, and by copying.

    A copy is counted as what a network takes, which is more.
    """
    rivals = set(_against(tuning)[0].values())
    held_out = sum(len(_labelled(course.listed.split("validation"))) for course in tuning.folds)
    return held_out * len(rivals) + answers_after(tuning.course.listed, rivals)


def answers_after(listed: DataList, rivals: Collection[str]) -> int:
    """Return how many of them are by ``benefits_after``, against so many rivals."""
    return (1 + len(rivals)) * sum(len(_labelled(listed.split(split))) for split in JUDGING)


class Rival:
    """What was there before the fine-tuning.

    Args:
        against: Class -> its name: that of the model to begin with, or ``COPIED``.
        model: To begin with; it is loaded if it knows a class.
        spec: Of the model that is made.
        device: Where that model runs.
        remark: What else to know of it.
    """

    def __init__(
        self, against: Mapping[str, str], model: str | Path, spec: ModelSpec, *, device: str, remark: str = ""
    ) -> None:
        self.against, self.remark = against, remark
        self._segmenter = load(model, device=device) if set(against.values()) - {COPIED} else None
        self._vocabulary = Vocabulary.of(spec.vocabulary)

    def scores(self, listed: DataList, cases: Sequence[ListedCase], drawn: Sequence[ListedCase]) -> Scores:
        """Return its Dice of labelled cases, where labels may be copied from other labelled ones."""
        copied = [name for name, rival in self.against.items() if rival == COPIED]
        known = [name for name, rival in self.against.items() if rival != COPIED]
        copy = CopiedLabels(listed, _labelled(drawn), self._vocabulary) if copied else None
        found: dict[str, Mapping[str, float]] = {}
        for case in read_references(listed, _labelled(cases), self._vocabulary):
            own: dict[str, float] = {}
            if copy is not None:
                stated = set(map(canonical, case.stated))
                wanted = [name for name in copied if canonical(name) in stated]
                for labels, names in copy.by_class(case.volume, wanted):
                    own |= _dice(case, labels, names)
            if self._segmenter is not None:
                own |= _found_by(self._segmenter, case, known)
            found[case.name] = own
        return found


def _rival_of(tuning: Finetuning, model: str | Path, device: str) -> Rival:
    against, remark = _against(tuning)
    return Rival(against, model, tuning.course.beginning.spec, device=device, remark=remark)


def _against(tuning: Finetuning) -> tuple[dict[str, str], str]:
    """Return class -> what was there before, and what else to know of that."""
    known = {one.name for one in tuning.classes if not one.is_new}
    made_for, asked_of, remark = tuning.base.modality, tuning.course.beginning.spec.modality, ""
    if known and made_for != asked_of:
        remark = f"{tuning.base.name} was made for {made_for} and is no rival on {asked_of}"
        known = set()
    return {one.name: tuning.base.name if one.name in known else COPIED for one in tuning.classes}, remark


def _labelled(cases: Sequence[ListedCase]) -> list[ListedCase]:
    return [case for case in cases if case.is_labelled]


def _found_by(segmenter: Segmenter, case: ReferenceCase, names: Sequence[str]) -> dict[str, float]:
    wanted = {canonical(name) for name in names}
    stated = [name for name in case.stated if canonical(name) in wanted]
    if not stated:
        return {}
    found = segmenter.segment(case.volume, askable(stated, segmenter.vocabulary), options=_HOW).labels
    return _dice(case, found, names)


def _dice(case: ReferenceCase, found: LabelMap, names: Sequence[str]) -> dict[str, float]:
    """Return the Dice of the classes of a case by these names, however the reference spells them."""
    scores = score_case(case.name, found, case.truth, unknown=case.unknown).scores
    return _spelled({score.name: score.dice for score in scores}, names)


def _spelled(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return the scores of classes by these names, however they were spelled; others are left out."""
    spelled = {canonical(name): name for name in names}
    return {spelled[key]: dice for name, dice in scores.items() if (key := canonical(name)) in spelled}
