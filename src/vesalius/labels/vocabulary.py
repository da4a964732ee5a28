"""Vocabulary: what a model can name, and what the names a user types mean.

A model's spec states its vocabulary as plain (id, name) pairs; everything else about a name (synonyms, groups,
parts, overlap layer, code, colour) comes from the one table. A *composite* (``kidney``) is one result made of its
parts; a *group* (``kidneys``) stands for its members, each a result of its own.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.composition import compose
from vesalius.labels.spelling import exact_key, loose_key, mirrored_name
from vesalius.labels.structure import Code, Concept, Structure
from vesalius.labels.vista3d import TABLE

__all__ = ["Code", "Concept", "Structure", "Target", "Vocabulary"]

_EVERYTHING = "everything"
_LISTED = 32
_TABLE_NAMES = frozenset(exact_key(structure.name) for structure in TABLE)


@dataclass(frozen=True)
class Target:
    """One result to make: the label ``id``, and the classes of the model whose union it is."""

    id: int
    name: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class Vocabulary:
    """What one model can name; build it with ``Vocabulary.of``.

    Args:
        structures: What it predicts, names without being able to predict, and makes of parts; by id.
        everything: Ids it segments when no classes are named.
    """

    structures: tuple[Structure, ...]
    everything: tuple[int, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, str]], *, everything: Sequence[int] = ()) -> Vocabulary:
        """Build a model's vocabulary from its spec.

        Args:
            pairs: (class id, name), as in ``ModelSpec.vocabulary``. A name the table lacks gets no synonyms and
                no code, and a colour of its own that depends on the name.
            everything: Ids segmented when no classes are named, as in ``ModelSpec.everything``; by default
                every class the model predicts that lies inside no other.

        Raises:
            CheckpointError: If an id or a name stands twice, an id is below 1, or a name is no text.
        """
        structures = compose(pairs)
        base = tuple(s.id for s in structures if s.status == "trained" and s.layer is None)
        return cls(structures, tuple(everything) or base)

    def by_id(self, label: int) -> Structure:
        """Return the structure with this id.

        Raises:
            UnknownClassError: If there is none.
        """
        if label not in self._by_id:
            raise UnknownClassError(
                expected=f"a class id of this model, at most {max(self._by_id, default=0)}",
                got=str(label),
                do="give an id the model has, or a name",
            )
        return self._by_id[label]

    def by_name(self, name: str) -> Structure:
        """Return the structure a name or synonym means, however it is spelled.

        Raises:
            UnknownClassError: If there is none; close names are suggested.
        """
        found = self._lookup(name)
        if found is None:
            raise self._unknown(name)
        return found

    def overlap_layer(self, label: int) -> str | None:
        """Return the layer of a structure that lies inside others, or None for the base layer."""
        return self.by_id(label).layer

    def left_right_partner(self, label: int) -> int | None:
        """Return the id of the same structure on the other side, or None where it has none."""
        mirrored = mirrored_name(self.by_id(label).name)
        partner = self._lookup(mirrored) if mirrored else None
        return partner.id if partner else None

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Group name -> ids of its members, for the groups this model predicts any member of."""
        found: dict[str, tuple[int, ...]] = {_EVERYTHING: self.everything, "all": self.everything}
        for structure in self.structures:
            if structure.status == "trained" and not structure.parts:
                for group in structure.groups:
                    found[group] = (*found.get(group, ()), structure.id)
        return found

    def resolve(self, requests: Sequence[str | int]) -> tuple[Target, ...]:
        """Say which results a user asks for.

        Args:
            requests: Names, synonyms, ids or groups; none at all means ``everything``.

        Returns:
            One target per result, in the order asked for, each once.

        Raises:
            UnknownClassError: If a request means nothing here, or a class that cannot be predicted.
            UsageError: If two results share a class (``kidney`` and ``left kidney``).

        Example:
            >>> Vocabulary.of([(5, "right kidney"), (14, "left kidney")]).resolve(["kidney"])
            (Target(id=2, name='kidney', members=(14, 5)),)
        """
        ids = [label for request in requests or (_EVERYTHING,) for label in self._ids(request)]
        structures = [self.by_id(label) for label in dict.fromkeys(ids)]
        self._refuse_shared_classes(structures)
        return tuple(Target(s.id, s.name, _members(s)) for s in structures)

    @cached_property
    def _by_id(self) -> dict[int, Structure]:
        return {structure.id: structure for structure in self.structures}

    @cached_property
    def _structures_by_exact_key(self) -> dict[str, Structure]:
        return _index(self.structures, exact_key)

    @cached_property
    def _structures_by_loose_key(self) -> dict[str, Structure]:
        return _index(self.structures, loose_key)

    def _lookup(self, name: str) -> Structure | None:
        """Find a structure by its name; the exact name of a group is no loose spelling of a structure."""
        exact = self._structures_by_exact_key.get(exact_key(name))
        if exact or self._group(name, exact_key):
            return exact
        return self._structures_by_loose_key.get(loose_key(name))

    def _group(self, name: str, key: Callable[[str], str]) -> tuple[int, ...]:
        return next((ids for group, ids in self.groups.items() if key(group) == key(name)), ())

    def _ids(self, request: str | int) -> tuple[int, ...]:
        """Return the ids one request means: a structure's own, or those of a group's members."""
        is_id = isinstance(request, int) or (request.strip().isdecimal() and len(request) < 10)
        structure = self.by_id(int(request)) if is_id else self._lookup(str(request))
        if structure is None:
            ids = self._group(str(request), exact_key)
            if not ids and exact_key(str(request)) not in _TABLE_NAMES:  # `kidney` is not the group `kidneys`
                ids = self._group(str(request), loose_key)
            if not ids:
                raise self._unknown(str(request))
            return ids
        if structure.status == "unsupported":
            raise _unsupported(structure)
        return (structure.id,)

    def _unknown(self, name: str) -> UnknownClassError:
        for structure in TABLE:
            if structure.status == "unsupported" and exact_key(structure.name) == exact_key(name):
                return _unsupported(structure)
        spellings = {loose_key(group): group for group in self.groups}
        spellings |= {loose_key(word): s.name for s in self.structures for word in (s.name, *s.synonyms)}
        close = difflib.get_close_matches(loose_key(name), spellings, n=5, cutoff=0.6)
        meant = list(dict.fromkeys(spellings[key] for key in close))[:3]
        named = sum(structure.status != "unsupported" for structure in self.structures)
        return UnknownClassError(
            expected=f"one of the {named} classes or {len(self.groups)} groups this model names",
            got=repr(name),
            do=f"did you mean {' or '.join(map(repr, meant))}?" if meant else self._choice(),
        )

    def _choice(self) -> str:
        """Say what may be asked for, or where it is listed."""
        names = [structure.name for structure in self.structures if structure.status == "trained"]
        if len(names) > _LISTED:
            return "see `vesalius models info MODEL`, which lists what a model names"
        if not names:
            return "this model names nothing: click on what you want (`vesalius refine`)"
        return f"ask for one of: {', '.join(names)}"

    def _refuse_shared_classes(self, structures: Iterable[Structure]) -> None:
        owner: dict[int, Structure] = {}
        for structure in structures:
            for part in structure.parts or (structure.id,):
                if part in owner:
                    raise self._shared(owner[part], structure)
                owner[part] = structure

    def _shared(self, one: Structure, other: Structure) -> UsageError:
        whole, part = (one, other) if len(one.parts) >= len(other.parts) else (other, one)
        groups = [name for name, ids in self.groups.items() if set(whole.parts) <= set(ids)]
        apart = min(groups, key=lambda name: len(self.groups[name]), default="the names of its parts")
        return UsageError(
            expected="every structure in one result only",
            got=f"{whole.name!r}, which is made of several, together with {part.name!r}, which is inside it",
            do=f"ask for {whole.name!r} alone to get one label, or for {apart!r} to get its parts apart",
        )


def _members(structure: Structure) -> tuple[int, ...]:
    return structure.parts if structure.status == "composite" else (structure.id,)


def _index(structures: Iterable[Structure], key: Callable[[str], str]) -> dict[str, Structure]:
    """Map spellings to structures; a name wins over another structure's synonym, a lower id over a higher."""
    found: dict[str, Structure] = {}
    for words in (lambda s: (s.name,), lambda s: s.synonyms):
        for structure in structures:
            for word in words(structure):
                found.setdefault(key(word), structure)
    return found


def _unsupported(structure: Structure) -> UnknownClassError:
    return UnknownClassError(
        expected="a class the model was trained on",
        got=f"{structure.name!r}, which is in VISTA3D's list and cannot be predicted: {structure.reason}",
        do="leave it out, or name another structure",
    )
