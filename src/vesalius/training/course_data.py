"""What every course says of its data: which cases judge it, what its files are, and what a model expects."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vesalius.checkpoints.catalog import find_row
from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.weights import open_weights
from vesalius.data.cache import Cache, key_of
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.prepare import Preparation
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.labels.mapping import UNKNOWN
from vesalius.labels.spelling import mirrored_name
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec


def labelled_validation(listed: DataList) -> tuple[ListedCase, ...]:
    """Return the validation cases that can judge a network: labelled ones in which anything was looked for."""
    return tuple(case for case in listed.split("validation") if case.is_labelled and case.classes != ())


def judging_cases(listed: DataList, loop: LoopSettings) -> tuple[ListedCase, ...]:
    """Return the labelled validation cases, if a training validates.

    Raises:
        UsageError: If it does and there are none, or a patient is in two parts of the list.
    """
    if loop.validate_every is None:
        return ()
    cases = labelled_validation(listed.require_whole_patients())
    if not cases:
        raise UsageError(
            expected=f"labelled validation cases in {listed.path.name} in which something was looked for",
            got="none",
            do="put some cases under `validation`, or train without --validate-every",
        )
    return cases


def judging_cases_of(lists: Sequence[DataList], loop: LoopSettings) -> tuple[tuple[ListedCase, ...], ...]:
    """Return the labelled validation cases of each of several lists, if a training validates; some may have none.

    Raises:
        UsageError: If it does and there are none at all, or a patient is in two parts of a list.
    """
    if loop.validate_every is None:
        return tuple(() for _ in lists)
    found = tuple(labelled_validation(one.require_whole_patients()) for one in lists)
    return found if any(found) else (judging_cases(lists[0], loop),)  # which refuses


def require_modality(lists: Iterable[DataList], spec: ModelSpec, *, do: str) -> None:
    """Refuse lists of another modality than a model's: through its window of intensities little of them is left.

    Args:
        lists: Those that do not say what made their images are judged case by case (``data.prepare``).
        spec: Of the model.
        do: What to do instead.

    Raises:
        UsageError: If a list is of another.
    """
    for one in lists:
        if one.modality not in ("unknown", spec.modality):
            raise UsageError(
                expected=f"lists of {spec.modality}, which {spec.name} sees",
                got=f"{one.modality} in {one.path}",
                do=do,
            )


def data_facts(
    listed: DataList,
    spec: ModelSpec,
    cache: Cache,
    *,
    learnt: Sequence[ListedCase],
    judged: Iterable[ListedCase],
    keeps_plane: bool = False,
) -> dict[str, Any]:
    """Return all of a list that decides what is learnt, as plain data: contents of files and what they mean.

    Args:
        listed: The list.
        spec: Of the model, for which cases are prepared.
        cache: Where prepared cases are kept; it knows the hashes of their files.
        learnt: Cases that are learnt from, as they are learnt.
        judged: Cases that judge.
        keeps_plane: ``Preparation.keeps_plane``.
    """
    vocabulary = Vocabulary.of(spec.vocabulary)
    preparation = Preparation.of(listed, spec, keeps_plane=keeps_plane)

    def facts(cases: Iterable[ListedCase]) -> dict[str, Any]:
        return {
            case.name: {
                "prepared": key_of(preparation.facts(case, cache)),
                "classes": sorted(listed.annotated(case, preparation.mapping, vocabulary)),
            }
            for case in cases
        }

    return {
        "name": listed.name,
        "meanings": {str(label): meaning for label, meaning in listed.meanings.items()},
        "unknown": sorted(listed.unknown),
        "training": facts(learnt),
        "validation": facts(judged),
    }


def mirrored_ids(spec: ModelSpec) -> dict[int, int]:
    """Return what each class becomes where left and right are swapped; UNKNOWN, if the other side is no class."""
    vocabulary, names = Vocabulary.of(spec.vocabulary), spec.names
    mirrored = {label: UNKNOWN if mirrored_name(name) else label for label, name in names.items()}
    partners = ((label, vocabulary.left_right_partner(label)) for label in names)
    return mirrored | {label: partner for label, partner in partners if partner is not None and partner in names}


def spec_of(model: str | Path) -> ModelSpec:
    """Return the spec of a model; of one with a name, its weights need not be here."""
    row = None if Path(model).exists() else find_row(str(model))
    return row.spec if row and row.spec else open_weights(find_weights_of(model)).spec
