"""The one table of structures: VISTA3D's 132 CT classes, and those of our own models that it lacks.

The table is ``structures.csv`` beside this file. Facts of the 132 rows: VISTA3D (He et al., CVPR 2025,
arXiv:2406.05285); ids and names of its published bundle, special classes and merge rules of its training code.
SNOMED CT codes and TotalSegmentator's names: that project's ``totalsegmentator_snomed_mapping.csv``, except where
DICOM PS3.16 says otherwise (both subclavian arteries: the file has the right one's code on either side; the left
atrial appendage: a code of its own) and for structures it lacks (tumours, bone, brain stem, parotid glands,
mandible, larynx, lung: PS3.16). Colours are ours: neighbours differ, left is lighter than right.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import pkgutil
from collections.abc import Iterable

from vesalius.labels.structure import (
    ANATOMICAL_STRUCTURE,
    LEFT,
    MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    RIGHT,
    Code,
    Concept,
    Structure,
)

_CATEGORIES = {"anatomy": ANATOMICAL_STRUCTURE, "abnormal": MORPHOLOGICALLY_ABNORMAL_STRUCTURE}
_SIDES = {"left": LEFT, "right": RIGHT, "": None}
_LAST_VISTA3D_ID = 132


def _read_table() -> tuple[tuple[Structure, ...], tuple[int, ...]]:
    """Return every structure of the table, and the ids of VISTA3D's "everything"."""
    text = (pkgutil.get_data(__package__, "structures.csv") or b"").decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    everything = tuple(int(row["id"]) for row in rows if row["everything"])
    return tuple(_structure(row) for row in rows), everything


def _structure(row: dict[str, str]) -> Structure:
    status = row["status"]
    assert status in ("trained", "composite", "unsupported"), status
    red, green, blue = bytes.fromhex(row["colour"].removeprefix("#"))
    return Structure(
        id=int(row["id"]),
        name=row["name"],
        colour=(red, green, blue),
        synonyms=_names(row["synonyms"]),
        groups=_names(row["groups"]),
        parts=tuple(int(part) for part in row["parts"].split()),
        includes=tuple(int(part) for part in row["includes"].split()),
        layer=row["layer"] or None,
        code=_code(row),
        is_special=bool(row["special"]),
        status=status,  # type: ignore[arg-type] # checked above
        reason=row["reason"],
    )


def _names(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(";")) if cell else ()


def _code(row: dict[str, str]) -> Code | None:
    if not row["type"]:
        return None
    return Code(
        category=_CATEGORIES[row["category"]],
        type=Concept(row["type"], row["type_meaning"]),
        modifier=_SIDES[row["modifier"]],
        region=Concept(row["region"], row["region_meaning"]) if row["region"] else None,
        region_modifier=_SIDES[row["region_modifier"]],
    )


TABLE, EVERYTHING = _read_table()
"""Every structure we have facts about, and the 117 ids VISTA3D segments when no classes are named."""

STRUCTURES = tuple(structure for structure in TABLE if structure.id <= _LAST_VISTA3D_ID)
"""VISTA3D's 132 classes, in the order of their ids: 124 trained, 3 composites, 5 it names and cannot predict.

The rest of the table are structures of our own models that VISTA3D lacks."""

_CODE_COLUMNS = (
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
)
_CODE_PARTS = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")


def snomed_csv(structures: Iterable[Structure] = TABLE) -> str:
    """Return the structures that have a code as CSV text, with the columns of TotalSegmentator's mapping.

    3D Slicer and the tools of the Imaging Data Commons read these columns.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["Structure", *(f"{column}.{part}" for column in _CODE_COLUMNS for part in _CODE_PARTS), "DicomRGBColor"]
    )
    for structure in structures:
        if structure.code is None:
            continue
        code = structure.code
        concepts = (code.category, code.type, code.modifier, code.region, code.region_modifier)
        cells = [cell for concept in concepts for cell in _cells(concept)]
        writer.writerow([structure.name, *cells, ",".join(map(str, structure.colour))])
    return out.getvalue()


def _cells(concept: Concept | None) -> tuple[str, str, str]:
    return (concept.scheme, concept.value, concept.meaning) if concept else ("", "", "")
