"""Scans with what should be found in them, from a list of cases: one at a time, on the image's own grid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.reading import on_grid_of, read_drawn, read_image
from vesalius.errors import FileFormatError, UsageError
from vesalius.evaluation.matching import canonical
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ReferenceCase:
    """A scan and what should be found in it.

    Args:
        name: The case.
        volume: The image.
        truth: The reference; it names every class that was looked for, also those that are absent.
        unknown: Its ids of voxels of which nothing is known: nobody judged them, or they mean no class.
        patient: Whom it shows, by any word; None where the list does not tell.
    """

    name: str
    volume: Volume
    truth: LabelMap
    unknown: frozenset[int] = frozenset()
    patient: str | None = None

    @property
    def stated(self) -> tuple[str, ...]:
        """Names of the classes that were looked for."""
        return tuple(name for label, name in self.truth.names.items() if label not in self.unknown)

    @property
    def patients(self) -> dict[str, str]:
        """Case -> patient, or nothing."""
        return {} if self.patient is None else {self.name: self.patient}


def labelled(listed: DataList, split: str | None = None) -> tuple[str, tuple[ListedCase, ...]]:
    """Return which split to evaluate on, and its labelled cases.

    Args:
        listed: The list.
        split: ``training``, ``validation``, ``test`` or ``all`` of them; None is the first of test, validation
            and training that has any labels.

    Raises:
        UsageError: If there are none.
    """
    for name in (split,) if split else ("test", "validation", "training"):
        cases = tuple(case for case in listed.cases if name in (case.split, "all") and case.is_labelled)
        if cases:
            return name, cases
    raise UsageError(
        expected=f"cases with labels in {listed.path.name}",
        got=f"none for {split}" if split not in (None, "all") else "none",
        do="name another split, or a list with references",
    )


def read_references(
    listed: DataList, cases: Sequence[ListedCase], vocabulary: Vocabulary
) -> Iterator[ReferenceCase]:
    """Read labelled cases of a list, one at a time, as training reads them: ``data.reading``.

    Args:
        listed: The list, which says what label ids mean; where it does not, the label files themselves do.
        cases: Which of its cases.
        vocabulary: Of the model, for lists that give class ids instead of names.

    Raises:
        InputError: If a file is refused, labels do not lie on the voxels of their image, or a mask has an id that
            the list does not declare.
        UnknownClassError: If the list gives a class id that the model does not have.
    """
    for case in cases:
        volume = read_image(case, listed.modality)
        drawn = on_grid_of(volume, read_drawn(case), what=f"labels of {case.name}")
        names = _looked_for(_stated(listed, case, drawn, vocabulary), case, _first_free(listed, drawn), vocabulary)
        truth = LabelMap(drawn.data, drawn.grid, names, drawn.overlaps, drawn.source)
        yield ReferenceCase(
            name=case.name, volume=volume, truth=truth, unknown=listed.unjudged, patient=case.patient
        )


def _stated(listed: DataList, case: ListedCase, drawn: LabelMap, vocabulary: Vocabulary) -> dict[int, str]:
    """Return what the ids of a case mean; of structures drawn file by file, those that have a file."""
    if not listed.meanings:
        return dict(drawn.names)
    undeclared = sorted(set(case.masks) - set(listed.meanings) - listed.unknown)
    if undeclared:
        raise FileFormatError(
            expected=f"masks of the label ids that {listed.path.name} declares, {list(listed.meanings)}",
            got=f"{case.name}: masks of {undeclared}",
            do="add them to `labels` or `label_mapping` (null leaves one out), or correct `masks`",
        )
    named = {label: _name(meaning, vocabulary) for label, meaning in listed.meanings.items() if meaning is not None}
    return {label: name for label, name in named.items() if case.label is not None or label in case.masks}


def _first_free(listed: DataList, drawn: LabelMap) -> int:
    """Return the least id above all that mean something and all that are drawn."""
    layers = (drawn.data, *drawn.overlaps.values())
    return 1 + max((*listed.meanings, *listed.unknown, *drawn.names, *(int(layer.max()) for layer in layers)))


def _looked_for(names: dict[int, str], case: ListedCase, first_free: int, vocabulary: Vocabulary) -> dict[int, str]:
    """Return the names of what was looked for in a case; a class that no id stands for gets one that is free."""
    if case.classes is None:
        return names
    wanted = {canonical(name): name for name in (_name(word, vocabulary) for word in case.classes)}
    kept = {label: name for label, name in names.items() if canonical(name) in wanted}
    without_id = [name for key, name in wanted.items() if key not in map(canonical, kept.values())]
    return kept | dict(enumerate(without_id, start=first_free))


def _name(meaning: str | int, vocabulary: Vocabulary) -> str:
    return vocabulary.by_id(meaning).name if isinstance(meaning, int) else meaning
