"""DataList and ListedCase: what every format of list comes down to; paths and words, no voxels."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vesalius.errors import UsageError
from vesalius.geometry.volume import Modality
from vesalius.labels.mapping import LabelMapping, Meaning, class_of
from vesalius.labels.spelling import exact_key, is_text
from vesalius.labels.vocabulary import Vocabulary
from vesalius.labels.word_order import refuse_told_apart_by_order

Split = Literal["training", "validation", "test"]
Format = Literal["monai", "nnunet", "totalsegmentator", "folders"]


@dataclass(frozen=True, kw_only=True)
class ListedCase:
    """One scan of a list, and what is known about it.

    Args:
        name: Of the case, once in its list.
        split: What it is for.
        image: Its file, or a folder of DICOM.
        label: Its label map; None where nobody drew one, or where ``masks`` has it class by class.
        masks: Label id -> file of one structure, in place of ``label``.
        pseudo_label: A model's answer; its ids are class ids of the vocabulary.
        supervoxels: A map of parts without names.
        classes: What was looked for in this scan, as names or class ids; None is everything the list maps. May
            name classes that no label id stands for: they were looked for and are absent.
        fold: Its part of a cross-validation.
        patient: Whom it shows, by any word; None where the list does not tell, so that it counts as nobody else's.
    """

    name: str
    split: Split = "training"
    image: Path
    label: Path | None = None
    masks: Mapping[int, Path] = field(default_factory=dict)
    pseudo_label: Path | None = None
    supervoxels: Path | None = None
    classes: tuple[str | int, ...] | None = None
    fold: int | None = None
    patient: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "masks", dict(self.masks))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file it names, the image first."""
        others = (self.label, *self.masks.values(), self.pseudo_label, self.supervoxels)
        return (self.image, *(path for path in others if path is not None))

    @property
    def person(self) -> tuple[str, str]:
        """A key that cases of one patient share."""
        return ("case", self.name) if self.patient is None else ("patient", self.patient)

    @property
    def is_labelled(self) -> bool:
        """Whether somebody drew something."""
        return self.label is not None or bool(self.masks)


@dataclass(frozen=True, kw_only=True)
class DataList:
    """The cases of one data set.

    Args:
        name: Of the data set; cases are drawn by it.
        path: The list, or its folder.
        format: Which kind of list it is.
        cases: All of them, in the list's order.
        meanings: Label id -> name, class id, or None where no class is meant; empty where the list says nothing.
        unknown: Label ids of voxels that nobody judged.
        modality: What made the images.

    Raises:
        UsageError: If the order of words alone tells two names of structures apart, or one is no text.
    """

    name: str
    path: Path
    format: Format
    cases: tuple[ListedCase, ...]
    meanings: Mapping[int, Meaning] = field(default_factory=dict)
    unknown: frozenset[int] = frozenset()
    modality: Modality = "unknown"

    def __post_init__(self) -> None:
        object.__setattr__(self, "meanings", dict(sorted(self.meanings.items())))
        names = [meaning for meaning in self.meanings.values() if isinstance(meaning, str)]
        if wrong := [name for name in names if not is_text(name)]:
            raise UsageError(
                expected=f"names of structures in {self.path} that can be written",
                got=repr(wrong[0]),
                do="correct the name; half a surrogate pair is no letter",
            )
        refuse_told_apart_by_order(names, str(self.path))

    @property
    def unjudged(self) -> frozenset[int]:
        """Label ids of voxels of which nothing is known: ``unknown``, and those that mean no class."""
        return self.unknown | {label for label, meaning in self.meanings.items() if meaning is None}

    def split(self, split: Split) -> tuple[ListedCase, ...]:
        """Return the cases that are for one thing."""
        return tuple(case for case in self.cases if case.split == split)

    def without_pseudo_labels(self) -> DataList:
        """Return the list for a training in which no model's answer counts."""
        return replace(self, cases=tuple(replace(case, pseudo_label=None) for case in self.cases))

    def torn_patients(self) -> Iterator[tuple[str, ...]]:
        """Yield the names of the cases of each patient who is in more than one split: what is judged was learnt."""
        of_patient: dict[str, list[ListedCase]] = {}
        for case in self.cases:
            if case.patient is not None:
                of_patient.setdefault(case.patient, []).append(case)
        for cases in of_patient.values():
            if len({case.split for case in cases}) > 1:
                yield tuple(f"{case.name} ({case.split})" for case in cases)

    def require_whole_patients(self) -> DataList:
        """Return the list if nobody is in more than one split.

        Raises:
            UsageError: If somebody is.
        """
        for names in self.torn_patients():
            raise UsageError(
                expected=f"all scans of a patient of {self.path.name} in one split, or in one fold",
                got=", ".join(names[:4]),
                do="move them together: what a model knows of a patient is no measure of what it finds in others",
            )
        return self

    def folded(self, fold: int) -> DataList:
        """Return the list with the training cases of one fold kept for validation, and no others.

        Raises:
            UsageError: If no case is of that fold, or a patient would be learnt from and judged by.
        """
        folds = sorted({case.fold for case in self.cases if case.fold is not None})
        if fold not in folds:
            raise UsageError(
                expected=f"a fold of {self.path.name}: {folds}", got=str(fold), do="name one of these, or none"
            )
        learnt = [case for case in self.cases if case.split != "test"]
        kept = [replace(c, split="validation" if c.fold == fold else "training") for c in learnt]
        return replace(self, cases=(*kept, *self.split("test"))).require_whole_patients()

    def with_first(self, count: int) -> DataList:
        """Return the list with the first labelled training cases and no other training cases.

        VISTA3D's few-shot scripts choose so (``train_number``): by the list's order, not by chance.

        Args:
            count: How many.

        Raises:
            UsageError: If the list has fewer, or none is asked for.
        """
        labelled = [case for case in self.split("training") if case.is_labelled]
        if not 1 <= count <= len(labelled):
            raise UsageError(
                expected=f"1 to {len(labelled)} cases, the labelled ones for training of {self.path.name}",
                got=str(count),
                do="correct the number, or leave --cases out to learn from all",
            )
        kept = {case.name for case in labelled[:count]}
        cases = tuple(case for case in self.cases if case.split != "training" or case.name in kept)
        return replace(self, cases=cases)

    def own_classes(self) -> tuple[tuple[int, str], ...]:
        """Return (class id, name) of what the list itself names, for a model that has no names yet; ids from 1.

        Raises:
            UsageError: If the list does not say what its ids mean, or says it in the ids of some model.
        """
        meanings = [meaning for label, meaning in self.meanings.items() if label and meaning is not None]
        if not meanings or not all(isinstance(meaning, str) for meaning in meanings):
            raise UsageError(
                expected=f"names of the structures of {self.path.name}",
                got=str(dict(self.meanings)) if meanings else "a list without `labels` or `label_mapping`",
                do='add "label_mapping": {"1": "liver"}; for plain folders, a labels.json {"1": "liver"} in it',
            )
        names: dict[str, str] = {}
        for name in map(str, meanings):
            names.setdefault(exact_key(name), name)  # `Liver` and `liver` are one class
        return tuple(enumerate(names.values(), start=1))

    def mapping(self, vocabulary: Vocabulary) -> LabelMapping:
        """Return what the list's label ids are in a vocabulary.

        Raises:
            UsageError: If the list does not say what its ids mean.
            UnknownClassError: If one of them means no single class.
        """
        if not self.meanings:
            raise UsageError(
                expected=f"to know what the label ids of {self.path.name} mean",
                got="a list without `labels` or `label_mapping`",
                do='add "label_mapping": {"1": "liver"}; for plain folders, a labels.json {"1": "liver"} in it',
            )
        return LabelMapping.of(self.meanings, vocabulary, unknown=self.unknown)

    def annotated(self, case: ListedCase, mapping: LabelMapping, vocabulary: Vocabulary) -> frozenset[int]:
        """Return the class ids that were looked for in a case: what is not among them is never a negative.

        Args:
            case: One of the list's.
            mapping: The list's own.
            vocabulary: What the model can name.

        Raises:
            UnknownClassError: If the case's ``classes`` name no class of the vocabulary.
        """
        if not case.is_labelled:
            return frozenset()
        if case.classes is not None:
            return frozenset(class_of(word, vocabulary).id for word in case.classes)
        if case.masks:
            return frozenset(mapping.classes[label] for label in case.masks if label in mapping.classes)
        return mapping.annotated
