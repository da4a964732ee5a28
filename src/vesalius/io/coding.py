"""What a name is written as in files that know more than names: codes and colours, for any name."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vesalius.labels.structure import ANATOMICAL_STRUCTURE, Code, Concept, Structure
from vesalius.labels.vocabulary import Vocabulary

_TISSUE = Concept("85756007", "Tissue")


def describe(names: Mapping[int, str]) -> dict[int, Structure]:
    """Return label id -> structure with a code and a colour for every name; background (0) has none.

    Names the table of structures knows get its codes; others are coded as tissue and keep their name as the label
    of the segment: a code is never guessed.
    """
    described = {}
    for label, name in names.items():
        if label < 1:
            continue
        structure = Vocabulary.of([(label, name)]).by_id(label)
        code = structure.code or Code(category=ANATOMICAL_STRUCTURE, type=_TISSUE)
        described[label] = replace(structure, name=name, code=code)
    return described
