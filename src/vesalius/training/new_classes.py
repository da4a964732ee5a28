"""What a list names, in a model's vocabulary: classes that it knows, and new ones with rows of their own.

VISTA3D fine-tunes by ``mapped_label_set``, pairs of ids that its user keeps in his head, and applies its own merge
rules to the user's ids. Here a list's words are looked up; a word that the model does not know, or lists without
predicting it (VISTA3D's rectum), becomes a class with a free id; one that looks like a misspelt class is refused.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vesalius.data.datalists.record import DataList
from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.mapping import UNKNOWN, class_of
from vesalius.labels.spelling import exact_key, loose_key
from vesalius.labels.structure import Structure
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec

EMBEDDING = "class_head.class_embedding.weight"
"""The table of which a class id is a row."""
_ALIKE = 0.8


@dataclass(frozen=True, kw_only=True)
class LearntClass:
    """One class that a list teaches.

    Args:
        id: In the model's vocabulary.
        name: There.
        is_new: Whether the model did not predict it.
        like: Id of the known class with whose row a new one begins; None begins at random.
    """

    id: int
    name: str
    is_new: bool
    like: int | None = None


def learnt_classes(
    listed: DataList, spec: ModelSpec, *, new: Collection[str] = (), like: Mapping[str, str] | None = None
) -> tuple[LearntClass, ...]:
    """Find the classes of a list in a model's vocabulary, and give ids to those it does not predict.

    A name that the model makes of several of its classes (``kidney``) is new only if it is said to be: the result
    would know one class where the model knew two.

    Args:
        listed: The list.
        spec: The model's.
        new: Names that are new, although they look like known ones or mean several.
        like: New name -> known class with whose row it begins.

    Returns:
        Each class once, in the order of the list's label ids.

    Raises:
        UsageError: If the list does not say what its ids mean, ``new`` and ``like`` name what is not the list's or
            not new, or there is no id left.
        UnknownClassError: If a word means several classes of the model, or looks like a misspelt one; if an id
            means what the model does not predict.
    """
    vocabulary, words = Vocabulary.of(spec.vocabulary), _words_of(listed)
    chosen, beginnings = {exact_key(word) for word in new}, {exact_key(a): b for a, b in (like or {}).items()}
    stated = {exact_key(word): _stated(word, vocabulary) for word in words if isinstance(word, str)}
    unpredicted = {key for key, one in stated.items() if one is None or one.status != "trained"}
    if strange := (chosen | set(beginnings)) - unpredicted:
        raise UsageError(
            expected=f"names of {listed.path.name} that the model does not predict after --new and --like",
            got=", ".join(sorted(strange)),
            do=f"the list has {', '.join(map(str, words))}; what the model knows begins as it knows it",
        )
    found: dict[int, LearntClass] = {}
    revived: set[int] = set()
    for word in words:
        key = exact_key(str(word))
        structure, is_said = stated.get(key), key in chosen | set(beginnings)
        is_unsupported = structure is not None and structure.status == "unsupported"
        if key not in unpredicted or not (structure is None or is_unsupported or is_said):
            known = _predicted(word, vocabulary)
            one = LearntClass(id=known.id, name=known.name, is_new=False)
        elif structure is not None and structure.id in revived:
            continue  # a synonym of what is new already
        else:
            if structure is None and not is_said:
                _refuse_misspelt(str(word), vocabulary)
            revived |= set() if structure is None else {structure.id}
            origin = class_of(beginnings[key], vocabulary).id if key in beginnings else None
            one = LearntClass(id=_free_id(spec, found), name=str(word), is_new=True, like=origin)
        found.setdefault(one.id, one)
    return tuple(found.values())


def with_classes(spec: ModelSpec, classes: Sequence[LearntClass], *, keep: bool) -> ModelSpec:
    """Return the spec of the model that is to be made: it names what it was taught, and claims nothing about it.

    Args:
        spec: Of the model to begin with.
        classes: What the list teaches.
        keep: Also name what the model knew before, which no case of the list holds it to.

    Raises:
        UsageError: If a new class is made of others that it would name as well.
    """
    before = Vocabulary.of(spec.vocabulary)
    replaced = {one.id for new in classes if new.is_new and (one := _stated(new.name, before)) is not None}
    kept = [(label, name) for label, name in spec.vocabulary if keep and label not in replaced]
    names = dict([*kept, *((one.id, one.name) for one in classes)])
    _refuse_wholes(names, classes)
    rows = max(spec.vista.num_embeddings, max(names) + 1)
    everything = {one.id for one in classes} | (set(spec.everything) & set(names) if keep else set())
    return replace(
        spec,
        vocabulary=tuple(sorted(names.items())),
        everything=tuple(sorted(everything)),
        single_piece=tuple(label for label in spec.single_piece if label in names),
        architecture=replace(spec.vista, num_embeddings=rows),
        dice={},
        dice_source="",
        confidence={},
    )


def with_rows(
    state: Mapping[str, Tensor], base: ModelSpec, spec: ModelSpec, *, classes: Iterable[LearntClass], seed: int
) -> dict[str, Tensor]:
    """Return weights whose table of classes has the rows of a spec.

    A new class begins as a copy of the row it is to be like, or drawn with the mean and the deviation of the rows
    of what the network predicts, so that two new classes differ from the start. Rows of no class are as they once
    were drawn: of VISTA3D's 512 those are three in four.

    Args:
        state: Of the model to begin with.
        base: Of that model.
        spec: Of the model to be made.
        classes: What the list teaches.
        seed: Of what is drawn.
    """
    table = state[EMBEDDING]
    generator = torch.Generator().manual_seed(seed)
    rows = table.float()
    predicted = [one.id for one in Vocabulary.of(base.vocabulary).structures if one.status == "trained"]
    known = rows[predicted] if predicted else rows
    spread = known.std(0, correction=0) if len(known) > 1 else known.std(correction=0)  # one alone has none
    drawn = known.mean(0) + spread * torch.randn(spec.vista.num_embeddings, table.shape[1], generator=generator)
    grown = drawn.clone()
    grown[: len(table)] = rows
    for one in classes:
        if one.is_new:
            grown[one.id] = drawn[one.id] if one.like is None else rows[one.like]
    return {**state, EMBEDDING: grown.to(table.dtype)}


def _words_of(listed: DataList) -> list[str | int]:
    """Return everything that a list says was looked for, each once."""
    listed_words = [meaning for meaning in listed.meanings.values() if meaning is not None]
    of_cases = [word for case in listed.cases for word in case.classes or ()]
    if not listed_words:
        listed.mapping(Vocabulary.of(()))  # says what is missing
    first: dict[str, str | int] = {}
    for word in (*listed_words, *of_cases):
        first.setdefault(exact_key(str(word)), word)
    return list(first.values())


def _stated(word: str, vocabulary: Vocabulary) -> Structure | None:
    """Return what a word means in a vocabulary, predicted or not; None where it means nothing."""
    try:
        return vocabulary.by_name(word)
    except UnknownClassError:
        return None


def _predicted(word: str | int, vocabulary: Vocabulary) -> Structure:
    """Return the class that a word or an id means; of what a model only lists, say how to learn it."""
    try:
        return class_of(word, vocabulary)
    except UnknownClassError as error:
        structure = vocabulary.by_id(word) if isinstance(word, int) else _stated(word, vocabulary)
        if structure is None:
            raise
        added = f", and add --new {structure.name!r}" if structure.status == "composite" else ""
        raise UnknownClassError(
            expected=error.expected,
            got=error.got,
            do=f"{error.do}; or learn it as one new class: write {structure.name!r}{added}",
        ) from None


def _refuse_wholes(names: Mapping[int, str], classes: Iterable[LearntClass]) -> None:
    """Refuse a new class whose parts would be named beside it: it would be made of them, not learnt."""
    vocabulary = Vocabulary.of(tuple(names.items()))
    for one in classes:
        whole = vocabulary.by_id(one.id)
        if whole.status == "composite":
            parts = ", ".join(vocabulary.by_id(part).name for part in whole.parts)
            raise UsageError(
                expected=f"a model that names {one.name!r} or its parts",
                got=f"{one.name!r} beside {parts}",
                do="map it to null or leave the parts out; without --keep-names the model names what the list does",
            )


def _refuse_misspelt(word: str, vocabulary: Vocabulary) -> None:
    """Refuse a word that differs from a known name in the letters of long words only."""
    names = [name for s in vocabulary.structures for name in (s.name, *s.synonyms)]
    meant = next((name for name in names if _is_misspelt(word, name)), None)
    if meant is not None:
        raise UnknownClassError(
            expected="a class of the model, or a name that is not nearly one",
            got=repr(word),
            do=f"write {meant!r} if that is meant, or add --new {word!r}",
        )


def _is_misspelt(word: str, name: str) -> bool:
    one, other = loose_key(word).split(), loose_key(name).split()
    if len(one) != len(other):
        return False
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    return all(len(a) > 3 and len(b) > 3 and _ratio(a, b) >= _ALIKE for a, b in pairs)


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _free_id(spec: ModelSpec, found: Collection[int]) -> int:
    """Return the lowest id that no class of the model and no other new one has."""
    taken = {label for label, _ in spec.vocabulary} | set(found) | set(spec.vista.special_classes)
    free = next(label for label in range(1, 2 + len(taken)) if label not in taken)
    if free >= UNKNOWN:
        raise UsageError(
            expected=f"at most {UNKNOWN - 1} classes", got=f"{len(taken) + 1}", do="map some of the list's to null"
        )
    return free
