"""Which label of a session a name means: names of the label map first, then those of the model.

A label map that was imported keeps its own ids: where it calls 7 what the model calls 1, clicks on that structure
change label 7.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from vesalius.errors import UnknownClassError, UsageError
from vesalius.inference.automatic import BASE_LAYER
from vesalius.interactive.history import SessionLabel
from vesalius.labels.spelling import is_text, ordered_key
from vesalius.labels.vocabulary import Vocabulary
from vesalius.prompts.targets import NEW, NEW_LAYER, ClickTarget, free_id, resolve_target
from vesalius.spec import PromptArchitecture

Labels = Mapping[int, SessionLabel]


def imported_labels(names: Mapping[int, str], layers: Mapping[int, str], vocabulary: Vocabulary) -> Labels:
    """Return the structures of a label map that a session begins with.

    Args:
        names: Label -> name, of the map.
        layers: Label -> layer it was found in; labels without voxels are absent.
        vocabulary: Of the model.
    """
    entries: dict[int, SessionLabel] = {}
    known: set[int] = set()
    for label in sorted({*names, *layers} - {0}):
        name = names.get(label, f"label {label}")
        class_id = _class_id(name, vocabulary)
        class_id = None if class_id in known else class_id
        known |= {class_id} if class_id is not None else set()
        layer = layers.get(label) or _layer(class_id, vocabulary)
        entries[label] = SessionLabel(label, name, layer, class_id)
    return entries


def find_label(text: str, labels: Labels, vocabulary: Vocabulary) -> SessionLabel:
    """Return the structure of the session that a name, or a synonym the model knows, means.

    Raises:
        UnknownClassError: If there is none.
    """
    class_id = _class_id(text, vocabulary)
    of_class = (entry for entry in labels.values() if entry.class_id == class_id is not None)
    found = _by_name(text, labels) or next(of_class, None)
    if found is None:
        names = [entry.name for entry in labels.values()]
        close = difflib.get_close_matches(_bare(text), names, n=3)
        meant = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has: {', '.join(names)}"
        raise UnknownClassError(
            expected="a structure of this session",
            got=repr(text),
            do=meant if names else "add a prompt first",
        )
    return found


def clicked_label(
    text: str, labels: Labels, vocabulary: Vocabulary, architecture: PromptArchitecture
) -> SessionLabel:
    """Return the structure a click is about: one of the session's, or the one it begins.

    Raises:
        UnknownClassError: If neither the label map nor the model has it.
        UsageError: If the name stands for several classes and no structure of the session has it.
    """
    found = _by_name(text, labels)
    if found is not None and (found.class_id is None or not _is_new(text)):
        return found
    ids = {entry.name: entry.label for entry in labels.values()}
    target = resolve_target(text, vocabulary, architecture, ids)
    if _is_new(text):
        return SessionLabel(target.id, target.name, NEW_LAYER, None)
    return _label_of_class(target.id, labels, vocabulary)


def class_labels(text: str, labels: Labels, vocabulary: Vocabulary) -> tuple[SessionLabel, ...]:
    """Return the structures a class prompt is about; several where it names a group.

    Raises:
        UnknownClassError: If the model does not have it.
    """
    found: dict[int, SessionLabel] = dict(labels)
    named = None if _is_new(text) else _by_name(text, labels)
    request = text if named is None or named.class_id is None else named.class_id
    entries = []
    for target in vocabulary.resolve([request]):
        entry = _label_of_class(target.id, found, vocabulary)
        found[entry.label] = entry
        entries.append(entry)
    return tuple(entries)


def click_target(entry: SessionLabel, vocabulary: Vocabulary, architecture: PromptArchitecture) -> ClickTarget:
    """Return what the point head is told of a structure: zero-shot where it is no class, or made of several."""
    if entry.class_id is None or vocabulary.by_id(entry.class_id).status == "composite":
        return ClickTarget(id=entry.label, name=entry.name, supported=False, special=False, layer=entry.layer)
    target = resolve_target(vocabulary.by_id(entry.class_id).name, vocabulary, architecture, {})
    return replace(target, id=entry.label)


def lasting_name(entry: SessionLabel, first: Labels, vocabulary: Vocabulary) -> str:
    """Return what a click on a structure names in any session, whatever the structure was renamed to in this one.

    Args:
        entry: The structure.
        first: Those the session began with.
        vocabulary: Of the model.
    """
    if entry.class_id is not None and vocabulary.by_id(entry.class_id).status != "composite":
        return vocabulary.by_id(entry.class_id).name
    return first[entry.label].name if entry.label in first else f"{NEW}{entry.name}"


def renamed(name: str, new_name: str, labels: Labels, vocabulary: Vocabulary) -> SessionLabel:
    """Return a structure under another name.

    Raises:
        UnknownClassError: If there is none with this name.
        UsageError: If another one has the new name, or it means a class of the model that this is not, or is
            empty or no text.
    """
    entry, new_name = find_label(name, labels, vocabulary), new_name.strip()
    other = _by_name(new_name, labels)
    is_taken = other is not None and other.label != entry.label
    if not new_name or not is_text(new_name) or _is_new(new_name) or is_taken:
        raise UsageError(
            expected=f"for {entry.name!r} a name that can be written and that no other structure has",
            got=repr(new_name),
            do="choose another name",
        )
    if not _meant(new_name, vocabulary) <= {entry.class_id}:
        raise UsageError(
            expected=f"for {entry.name!r} a name that means no class of the model but its own",
            got=repr(new_name),
            do="choose another name; a prompt for that class begins a structure of its own",
        )
    return replace(entry, name=new_name)


def _by_name(text: str, labels: Labels) -> SessionLabel | None:
    """Return the structure of a name, which may differ in case and separators: the closest of several."""
    name = _bare(text)
    spellings = (str.casefold, ordered_key)
    found = (entry for key in spellings for entry in labels.values() if key(entry.name) == key(name))
    return next(found, None)


def _is_new(text: str) -> bool:
    return text.strip().lower().startswith(NEW)


def _bare(text: str) -> str:
    return text.strip()[len(NEW) :].strip() if _is_new(text) else text.strip()


def _class_id(name: str, vocabulary: Vocabulary) -> int | None:
    try:
        structure = vocabulary.by_name(name)
    except UnknownClassError:
        return None
    return None if structure.status == "unsupported" else structure.id


def _meant(text: str, vocabulary: Vocabulary) -> set[int]:
    """Return the classes that a name, synonym, id or group means; none where the model does not know it."""
    try:
        return {target.id for target in vocabulary.resolve([text])}
    except UnknownClassError:
        return set()


def _label_of_class(class_id: int, labels: Labels, vocabulary: Vocabulary) -> SessionLabel:
    """Return the session's structure for a class: the one it has, or one under the model's id if that is free."""
    for entry in labels.values():
        if entry.class_id == class_id:
            return entry
    label = class_id if class_id not in labels else free_id(vocabulary, labels)
    return SessionLabel(label, vocabulary.by_id(class_id).name, _layer(class_id, vocabulary), class_id)


def _layer(class_id: int | None, vocabulary: Vocabulary) -> str:
    if class_id is None:
        return BASE_LAYER
    structure = vocabulary.by_id(class_id)
    return vocabulary.by_id((*structure.parts, class_id)[0]).layer or BASE_LAYER
