"""Files against files, and a model over a data set: every case measured, none left out.

A case that cannot be read or segmented ends the evaluation with its error. In VISTA3D's evaluation code such a case
vanishes from the mean; here it is to be mended, or taken out of the list where everybody can see it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from vesalius.errors import UnknownClassError, UsageError
from vesalius.evaluation.label_files import FilePair
from vesalius.evaluation.matching import canonical, made_up
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import CaseScores, Score, ScoringOptions, complete, score_case
from vesalius.evaluation.summary import Comparison, Summary, compare, summarise
from vesalius.inference.result_labels import read_result_labels
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.labels.vocabulary import Target, Vocabulary


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Args:
        scores: Every class in every case.
        options: How it was measured.
        only_in_references: Classes that the results say nothing about, with the number of such cases.
        only_in_results: Classes that the references say nothing about.
        patients: Case -> whom it shows, where that is known; it is never written.
    """

    scores: tuple[Score, ...]
    options: ScoringOptions
    only_in_references: Mapping[str, int]
    only_in_results: Mapping[str, int]
    patients: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, cases: Sequence[CaseScores], options: ScoringOptions, *, patients: Mapping[str, str] | None = None
    ) -> Evaluation:
        """Put the cases of one run together."""
        scores = complete(cases)
        counted = {(score.case, canonical(score.name)) for score in scores}
        counted |= {
            (case.case, canonical(part))
            for case in cases
            for whole, parts in case.parts.items()
            if (case.case, canonical(whole)) in counted
            for part in parts
        }
        truth = [(case.case, name) for case in cases for name in case.only_truth]
        found = [(case.case, name) for case in cases for name in case.only_found]
        return cls(
            scores=scores,
            options=options,
            only_in_references=_uncounted(truth, counted),
            only_in_results=_uncounted(found, counted),
            patients=patients or {},
        )

    def summary(self) -> Summary:
        """Return the table."""
        return summarise(self.scores, patients=self.patients)

    def compared_with(self, other: Evaluation) -> Comparison:
        """Say what this result gives more than another one of the same cases."""
        return compare(other.scores, self.scores, patients=self.patients)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON states it."""
        summary = self.summary()
        together = ", all scans of one together" if summary.unit == "patients" else ""
        return {
            "metrics": {
                "tolerance_mm": self.options.tolerance_mm,
                "dice, nsd": "mean over the cases that have the class",
                "hd95_mm": "median over the cases that have the class; null is infinite",
                "dice_all": "mean over all cases in which it was looked for: absent and not found 1, found 0",
                "intervals": "95 %, percentiles of bootstrap draws of " + summary.unit + together,
            },
            "summary": summary.as_dict(),
            "not_compared": {
                "only_in_references": dict(self.only_in_references),
                "only_in_results": dict(self.only_in_results),
            },
            "scores": [score.as_dict() for score in self.scores],
        }


def evaluate_files(
    pairs: Sequence[FilePair],
    options: ScoringOptions | None = None,
    *,
    on_case: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure label files against references.

    Args:
        pairs: Which belongs to which (``label_files.pair_files``).
        options: How.
        on_case: Hears the name of each case before it is measured.

    Raises:
        InputError: If a file is refused, or two of a pair do not lie on the same voxels.
        UsageError: If two have no class in common.
    """
    options = options or ScoringOptions()
    cases = []
    for pair in pairs:
        on_case(pair.name)
        found, truth = read_result_labels(pair.found), read_result_labels(pair.truth)
        cases.append(score_case(pair.name, found, truth, options=options))
    return Evaluation.of(cases, options)


def evaluate_model(
    segmenter: Segmenter,
    cases: Iterable[ReferenceCase],
    *,
    options: ScoringOptions | None = None,
    everything: bool = False,
    how: SegmentOptions | None = None,
    on_case: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Segment cases with a model, as a user would, and measure what it finds.

    It is asked for those classes of each reference that it can name. Classes compete for voxels, so that the same
    model can score otherwise when it is asked for all it knows.

    Args:
        segmenter: The model.
        cases: Scans with their references.
        options: How to measure.
        everything: Also ask for everything that the model segments when no classes are named.
        how: How to segment.
        on_case: Hears the name of each case before it is segmented.

    Raises:
        UsageError: If a reference has no class that the model can name.
        VesaliusError: Whatever segmenting may raise.
    """
    options = options or ScoringOptions()
    measured, patients = [], dict[str, str]()
    for case in cases:
        on_case(case.name)
        patients |= case.patients
        asked = askable(case.truth.names.values(), segmenter.vocabulary, chosen=options.classes)
        asked += others(asked, segmenter.vocabulary) if everything else []
        result = segmenter.segment(case.volume, asked, options=how)
        expected = {finding.name: finding.confidence for finding in result.findings.classes}
        measured.append(
            score_case(
                case.name, result.labels, case.truth, options=options, unknown=case.unknown, confidence=expected
            )
        )
    return Evaluation.of(measured, options, patients=patients)


def askable(names: Iterable[str], vocabulary: Vocabulary, *, chosen: Sequence[str] = ()) -> list[str]:
    """Return those classes of a reference that a model can be asked for, by the model's own names.

    What the reference states in parts that the model does not name (the lobes of a lung) is asked for whole.

    Args:
        names: What the reference states.
        vocabulary: The model's.
        chosen: Of these only; none at all means all.

    Raises:
        UsageError: If there are none.
    """
    wanted, stated = {canonical(name) for name in chosen}, list(names)
    in_parts = [name for name in stated if _target(name, vocabulary) is None]
    stated += made_up(in_parts, (one.name for one in vocabulary.structures if one.status == "trained"))
    asked = [name for name in stated if not wanted or canonical(name) in wanted]
    targets = [target for name in asked if (target := _target(name, vocabulary)) is not None]
    if not targets:
        raise UsageError(
            expected="references with classes that the model can name",
            got=", ".join(asked or stated) or "references without names",
            do="see `vesalius models info MODEL`, which lists them; a list says what its ids mean in label_mapping",
        )
    return list(dict.fromkeys(target.name for target in targets))


def others(asked: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Return what a model segments when no classes are named, without what is asked for and its parts."""
    taken = {label for target in vocabulary.resolve(asked) for label in (target.id, *target.members)}
    return [vocabulary.by_id(label).name for label in vocabulary.everything if label not in taken]


def _uncounted(classes: Iterable[tuple[str, str]], counted: Set[tuple[str, str]]) -> Mapping[str, int]:
    """Count pairs of case and class of which there is no score, each class spelled as where it was first met."""
    shown: dict[str, str] = {}
    left = (name for case, name in classes if (case, canonical(name)) not in counted)
    return Counter(shown.setdefault(canonical(name), name) for name in left)


def _target(name: str, vocabulary: Vocabulary) -> Target | None:
    try:
        targets = vocabulary.resolve([vocabulary.by_name(name).name])
    except UnknownClassError:
        return None
    return targets[0]
