"""Tissues are told by names, in the spellings of the class table, TotalSegmentator and the atlas."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from vesalius.data.tissue_names import tissue_of
from vesalius.labels.vista3d import STRUCTURES


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("left kidney", "kidney"), ("kidney_left", "kidney"), ("left kidney cyst", "cyst"),
        ("lung tumor", "lesion"),
        ("left lung upper lobe", "lung"),
        ("gallbladder", "fluid"),
        ("bladder", "fluid"), ("hepatic vessel", "vein"),
        ("portal vein and splenic vein", "vein"),
        ("splenic_artery", "artery"), ("aorta", "artery"),
        ("costal cartilages", "cartilage"), ("vertebrae L3", "bone"), ("Lumbar3", "bone"), ("Rib7", "bone"),
        ("L4-L3-IntervertebralDisc", "disc"), ("right_psoas_muscle", "muscle"),
        ("left gluteus medius", "muscle"),
        ("left autochthon", "muscle"), ("spinal cord", "nerve"), ("heart", "heart"), ("trachea", "airway"),
        ("colon_and_ileum", "bowel"), ("left adrenal gland", "gland"), ("thyroid gland", "thyroid"),
        ("bone lesion", "lesion"), ("something else", "soft tissue"), ("inferior vena cava", "vein"),
        ("right atrial appendage", "heart"), ("stomach_and_duodenum", "stomach"),
    ],
)  # fmt: skip
def test_a_name_tells_its_tissue(name, tissue):
    assert tissue_of(name).name == tissue


def test_every_class_of_the_table_but_one_has_a_tissue_of_its_own():
    nameless = [s.name for s in STRUCTURES if tissue_of(s.name).name == "soft tissue"]
    assert nameless == ["esophagus"]
