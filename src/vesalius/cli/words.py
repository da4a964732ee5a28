"""Words of a command line read into values: lists with commas, sizes, numbers of threads."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection

_UNITS = {
    "": 1,
    "b": 1,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "t": 1e12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


def names(text: str) -> tuple[str, ...]:
    """Read names of classes between commas.

    Raises:
        argparse.ArgumentTypeError: If there is none.
    """
    found = _between_commas(text)
    if not found:
        raise argparse.ArgumentTypeError("no class is named")
    return found


def choices_of(allowed: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of some of the words that are allowed, between commas; each counts once.

    What it returns raises ``argparse.ArgumentTypeError`` for any other word, and for none.
    """

    def read(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(_between_commas(text)))
        strange = [word for word in found if word not in allowed]
        if strange or not found:
            given = ", ".join(strange) or repr(text)
            raise argparse.ArgumentTypeError(f"{given} is none of {', '.join(allowed)}")
        return found

    return read


def size_in_bytes(text: str) -> int:
    """Read a size: ``8GB`` is 8e9 bytes, ``8GiB`` 8 x 2^30; the B may be left out.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    match = _SIZE.fullmatch(text)
    size = float(match[1]) * _UNITS[(match[2] or "").lower()] if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 8GB or 6000MB")
    return int(size)


def number_of_threads(text: str) -> int:
    """Read a number of threads, at least one.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)


def _between_commas(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
