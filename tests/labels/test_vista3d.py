"""The table of structures: VISTA3D's facts, codes that agree with their sources, colours that can be told apart."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from vesalius.labels.structure import Structure
from vesalius.labels.vista3d import EVERYTHING, STRUCTURES, TABLE, snomed_csv
from vesalius.labels.vocabulary import Vocabulary

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
BY_ID = {structure.id: structure for structure in TABLE}
UNSUPPORTED = {16, 18, 129, 130, 131}


def test_counts_are_those_of_the_paper():
    assert [s.id for s in STRUCTURES] == list(range(1, 133))
    assert len(EVERYTHING) == 117
    assert {s.id for s in STRUCTURES if s.status == "unsupported"} == UNSUPPORTED
    assert {s.id for s in STRUCTURES if s.status == "composite"} == {2, 20, 21}
    assert sum(s.status == "trained" for s in STRUCTURES) == 124


def test_special_classes_and_merges_are_those_of_the_training_code():
    assert [s.id for s in STRUCTURES if s.is_special] == [23, 24, 25, 26, 27, 57, 128]
    assert {s.id: s.includes for s in STRUCTURES if s.includes} == {1: (25, 26), 4: (24,), 132: (57,)}


def test_what_lies_inside_organs_is_on_a_layer_and_not_in_everything():
    layered = {s.id: s.layer for s in STRUCTURES if s.layer}
    assert layered == dict.fromkeys((23, 24, 26, 27, 128), "tumours") | {25: "vessels", 132: "airways"}
    assert not set(layered) & set(EVERYTHING)


def test_table_agrees_with_the_published_one():
    path = REFERENCE / "vista3d_classes.json"
    if not path.is_file():
        pytest.skip(f"no reference table at {path}")
    published = json.loads(path.read_text())["classes"]
    assert len(published) == len(STRUCTURES)
    for row, ours in zip(published, STRUCTURES, strict=True):
        assert (row["index"], row["name"]) == (ours.id, ours.name)
        assert row["status"].removesuffix("_legacy") == ours.status
        assert row["special_point_class"] == ours.is_special
        assert row["in_everything_117"] == (ours.id in EVERYTHING)
        assert tuple(row["subclasses"] or ()) == ours.parts
        assert tuple(row["merge_children_in_training_and_eval_gt"] or ()) == ours.includes
        assert (row["reason"] or "") == ours.reason


def test_every_predictable_structure_has_a_code_and_only_the_unsupported_lack_one():
    assert {s.id for s in TABLE if s.code is None} == UNSUPPORTED


def test_codes_have_the_form_of_snomed_identifiers():
    """The last digit of a SNOMED identifier is a Verhoeff check digit: a typing error in a code shows."""
    codes = {c.value for s in TABLE if s.code for c in vars(s.code).values() if c is not None}
    assert len(codes) > 70
    assert not [code for code in codes if not _verhoeff(code)]
    assert not _verhoeff("10200005")
    assert not _verhoeff("12020004")


def test_sides_are_said_once_and_rightly():
    for structure in TABLE:
        side = structure.name.split()[0]
        if side not in ("left", "right") or structure.code is None:
            continue
        code = structure.code
        meant = [c.meaning.lower() for c in (code.modifier, code.region_modifier) if c]
        meant += [side for side in ("left", "right") if side in code.type.meaning.lower().split()]
        assert meant == [side], structure.name


def test_codes_are_those_totalsegmentator_writes_except_for_its_errors():
    path = REFERENCE / "snomed_mapping.csv"
    if not path.is_file():
        pytest.skip(f"no reference codes at {path}")
    theirs = {row.pop("Structure"): row for row in csv.DictReader(io.StringIO(path.read_text()))}
    ours = {row.pop("Structure"): row for row in csv.DictReader(io.StringIO(snomed_csv()))}
    assert {tuple(row) for row in theirs.values()} == {tuple(row) for row in ours.values()}
    compared, other = 0, set()
    for structure in TABLE:
        name = next((n for n in (structure.name, *structure.synonyms) if n.replace(" ", "_") in theirs), None)
        if name is None or structure.name not in ours:
            continue
        compared += 1
        pairs = zip(theirs[name.replace(" ", "_")].items(), ours[structure.name].items(), strict=True)
        if any(a != b for a, b in pairs if a[0].endswith("CodeValue")):
            other.add(structure.name)
    assert compared > 115
    assert other == {"left subclavian artery", "right subclavian artery", "left atrial appendage"}


def test_codes_beyond_totalsegmentator_are_those_of_dicom():
    known = {}
    for values in concepts["SCT"].values():
        for value, (meaning, _) in values.items():
            known.setdefault(value, set()).add(meaning.lower())
    added = [2, 20, 21, 23, 24, 27, 108, 123, 124, 128, *(s.id for s in TABLE[len(STRUCTURES) :])]
    for structure in (BY_ID[i] for i in added):
        for concept in (structure.code.type, structure.code.region):
            assert concept is None or concept.meaning.lower() in known[concept.value], structure.name


def test_snomed_csv_is_read_back_equal():
    rows = list(csv.DictReader(io.StringIO(snomed_csv())))
    assert len(rows) == len(TABLE) - len(UNSUPPORTED)
    liver = rows[0]
    assert liver["Structure"] == "liver"
    assert liver["SegmentedPropertyTypeCodeSequence.CodeValue"] == "10200004"
    assert liver["DicomRGBColor"] == ",".join(map(str, BY_ID[1].colour))
    cyst = next(row for row in rows if row["Structure"] == "right kidney cyst")
    assert cyst["AnatomicRegionSequence.CodeMeaning"] == "Kidney"
    assert cyst["AnatomicRegionModifierSequence.CodeMeaning"] == "Right"


def test_colours_are_unique_and_readable_on_black():
    assert len({s.colour for s in TABLE}) == len(TABLE)
    dim = [s.name for s in TABLE if s.status != "unsupported" and _luminance(s) < 0.045]
    assert not dim


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("liver", "right kidney"),
        ("liver", "stomach"),
        ("liver", "gallbladder"),
        ("spleen", "left kidney"),
        ("spleen", "stomach"),
        ("pancreas", "duodenum"),
        ("pancreas", "stomach"),
        ("colon", "small bowel"),
        ("duodenum", "colon"),
        ("aorta", "inferior vena cava"),
        ("bladder", "prostate"),
        ("heart", "aorta"),
        ("brainstem", "brain"),
        *((f"vertebrae T{i}", f"vertebrae T{i + 1}") for i in range(1, 12)),
        *((f"vertebrae L{i}", f"vertebrae L{i + 1}") for i in range(1, 5)),
        *((f"left rib {i}", f"left rib {i + 1}") for i in range(1, 12)),
        *((f"right rib {i}", f"right rib {i + 1}") for i in range(1, 12)),
    ],
)
def test_neighbours_have_colours_that_differ(one: str, other: str):
    colours = {s.name: s.colour for s in TABLE}
    assert sum(abs(a - b) for a, b in zip(colours[one], colours[other], strict=True)) >= 60


def test_left_and_right_differ_in_colour():
    vocabulary = Vocabulary.of([(s.id, s.name) for s in TABLE])
    for structure in TABLE:
        partner = vocabulary.left_right_partner(structure.id)
        if partner is not None:
            apart = zip(structure.colour, BY_ID[partner].colour, strict=True)
            assert sum(abs(a - b) for a, b in apart) >= 45, structure.name


def test_labels_import_neither_numpy_nor_torch():
    script = "import sys, vesalius.labels.vocabulary; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _luminance(structure: Structure) -> float:
    """Relative luminance (WCAG 2), in [0, 1]; 0.045 is a contrast of 1.9 on black."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in structure.colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _verhoeff(number: str) -> bool:
    """Say whether the last digit is the Verhoeff check digit of the others (dihedral group of order 10)."""

    def multiply(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    step, permutations = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], [list(range(10))]
    for _ in range(7):
        permutations.append([step[d] for d in permutations[-1]])
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = multiply(check, permutations[place % 8][int(digit)])
    return check == 0
