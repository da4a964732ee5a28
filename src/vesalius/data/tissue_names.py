"""Which tissue a structure is made of, told by its name."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """What a tissue measures in CT, in HU."""

    name: str
    plain_hu: float
    """Without contrast agent."""
    enhancement_hu: float
    """What strong contrast agent adds."""
    spread_hu: float
    """Standard deviation between people."""
    texture: float
    """Mottling relative to soft tissue's."""


_TISSUES = (
    Tissue("airway", -960.0, 0.0, 20.0, 0.5),
    Tissue("lung", -830.0, 0.0, 50.0, 2.5),
    Tissue("bone", 320.0, 0.0, 110.0, 6.0),
    Tissue("cartilage", 95.0, 0.0, 25.0, 1.5),
    Tissue("lesion", 35.0, 35.0, 15.0, 1.5),
    Tissue("cyst", 8.0, 0.0, 8.0, 0.5),
    Tissue("artery", 42.0, 300.0, 30.0, 0.8),
    Tissue("vein", 42.0, 130.0, 25.0, 0.8),
    Tissue("kidney", 33.0, 160.0, 20.0, 1.5),
    Tissue("liver", 56.0, 55.0, 16.0, 0.8),
    Tissue("spleen", 48.0, 75.0, 12.0, 0.8),
    Tissue("pancreas", 40.0, 55.0, 12.0, 1.5),
    Tissue("thyroid", 90.0, 80.0, 20.0, 1.0),
    Tissue("gland", 35.0, 40.0, 15.0, 1.0),
    Tissue("fluid", 8.0, 4.0, 8.0, 0.6),
    Tissue("stomach", 20.0, 20.0, 60.0, 3.0),
    Tissue("bowel", 20.0, 25.0, 60.0, 6.0),
    Tissue("heart", 42.0, 120.0, 25.0, 1.5),
    Tissue("nerve", 34.0, 4.0, 5.0, 0.5),
    Tissue("disc", 75.0, 0.0, 12.0, 1.0),
    Tissue("fat", -100.0, 0.0, 10.0, 2.0),
    Tissue("muscle", 52.0, 12.0, 8.0, 1.2),
    Tissue("soft tissue", 40.0, 30.0, 20.0, 1.2),
)
_BY_NAME = {tissue.name: tissue for tissue in _TISSUES}

# The first that is found in the name decides; so "kidney cyst" is a cyst and "lung tumor" a lesion.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"tumou?rs?|cancer|lesion|mass|metasta", "lesion"),
    (r"cyst", "cyst"),
    (r"gallbladder|bladder|ureter|csf", "fluid"),
    (r"disc|intervertebral", "disc"),
    (r"cartilages?", "cartilage"),
    (r"vein|vena|hepatic vessel|portal|cava", "vein"),
    (r"aorta|arter(y|ies)|trunk|carotid|pulmonary vessel", "artery"),
    (r"heart|atri(um|al)|ventricle|myocardium", "heart"),
    (r"trachea|airways?|bronch", "airway"),
    (r"lungs?", "lung"),
    (r"fat|adipose", "fat"),
    (r"muscles?|glut(eus|eal)|autochthon|iliopsoas|psoas|erector|oblique|rectus|iliacus|quadratus", "muscle"),
    (r"vertebrae?|ribs?|sacrum|hips?|femur|humerus|scapula|clavicula|clavicle|sternum|skull|bones?|pelvis|coccyx|mandible|"
     r"cervical|thoracic|lumbar", "bone"),
    (r"kidneys?", "kidney"),
    (r"liver", "liver"),
    (r"spleen", "spleen"),
    (r"pancreas", "pancreas"),
    (r"thyroid", "thyroid"),
    (r"adrenal|gland|parotid|prostate|uterus", "gland"),
    (r"stomach", "stomach"),
    (r"duodenum|colon|bowel|ileum|rectum|intestine", "bowel"),
    (r"cord|brain|brainstem", "nerve"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(rf"(?<![a-z])({words})"), tissue) for words, tissue in _WORDS)


def tissue_of(name: str) -> Tissue:
    """Return the tissue that a structure of this name is made of.

    Args:
        name: English, in any spelling of words: ``"left kidney"``, ``"kidney_left"``, ``"Lumbar3"``.

    Returns:
        The tissue; soft tissue where the name says nothing.
    """
    plain = re.sub(r"[_\-]+", " ", name).lower()
    for pattern, tissue in _PATTERNS:
        if pattern.search(plain):
            return _BY_NAME[tissue]
    return _BY_NAME["soft tissue"]
