"""When two spellings mean one name: case, separators (``KidneyLeft``), word order, plural, British spelling.

And what can be spelled at all.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from functools import lru_cache

_SEPARATORS = re.compile(r"[\s_\-,]+|(?<=[a-z])(?=[A-Z][a-z])")
_OTHER_SIDE = {"left": "right", "right": "left"}
_ALIKE = {
    "tumours": "tumor",
    "tumour": "tumor",
    "oesophagus": "esophagus",
    "vertebrae": "vertebra",
    "vertebral": "vertebra",
    "arteries": "artery",
    "cavities": "cavity",
    "scapulae": "scapula",
    "claviculae": "clavicula",
    "humeri": "humerus",
    "femora": "femur",
    "venae": "vein",
    "vena": "vein",
}


_CHAMBERS = {"atrium", "atrial", "ventricle", "myocardium"}


@lru_cache(maxsize=4096)
def exact_key(name: str) -> str:
    """Return what ``left kidney``, ``kidney_left``, ``Kidney-Left`` and ``KidneyLeft`` have in common."""
    return " ".join(sorted(_words(name)))


@lru_cache(maxsize=4096)
def ordered_key(name: str) -> str:
    """Return what names have in common that differ in case and separators alone.

    For names that people give: of the lesions ``L1 node 2`` and ``L2 node 1`` only the order of words tells.
    """
    return " ".join(_words(name))


@lru_cache(maxsize=4096)
def loose_key(name: str) -> str:
    """Return what also plurals and British spelling have in common with the name; use after ``exact_key``."""
    return " ".join(sorted(_singular(word) for word in exact_key(name).split()))


def is_text(name: str) -> bool:
    """Say whether a name can be written: half a surrogate pair, which JSON may spell, is no letter in any file."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def differ_in_order(one: str, other: str) -> bool:
    """Say whether two names have the same words (``loose_key``) in another order."""
    words, others = ([_singular(word) for word in _words(name)] for name in (one, other))
    return words != others and sorted(words) == sorted(others)


def mirrored_name(name: str) -> str | None:
    """Return the name with left and right exchanged, or None where it has no side.

    Chambers of the heart have none: in a mirror the left one is still the one with the thick wall.
    """
    words = _words(name)
    if _CHAMBERS & set(words) and "lateral" not in words:  # lateral ventricles are the brain's, and a pair
        return None
    mirrored = [_OTHER_SIDE.get(word, word) for word in words]
    return " ".join(mirrored) if mirrored != words else None


def _words(name: str) -> list[str]:
    return [word.casefold() for word in _SEPARATORS.split(name) if word]


def _singular(word: str) -> str:
    if word in _ALIKE:
        return _ALIKE[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        return word[:-1]
    return word
