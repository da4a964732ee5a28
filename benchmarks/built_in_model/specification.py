"""What ``vesalius-small`` is: its architecture, and its spec before any measurement."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from vocabulary import VOCABULARY

from vesalius.spec import ModelSpec, VistaArchitecture

ARCHITECTURE = VistaArchitecture(
    width=16,
    blocks_down=(1, 2, 2, 2),
    num_embeddings=48,
    last_supported=47,
    special_classes=(),
    class_branch=True,
    point_branch=True,
    point_heads=1,
)

SPEC = ModelSpec(
    name="vesalius-small",
    version="3",
    architecture=ARCHITECTURE,
    modality="CT",
    regions=("head and neck", "chest", "abdomen"),
    spacing_mm=(4.0, 4.0, 3.0),
    spacing_range_mm=(0.5, 5.5),
    window_hu=(-1000.0, 600.0),
    window_size=(64, 64, 64),
    overlap=0.25,
    click_reach_mm=15.0,
    click_pull=8.0,
    unnamed_trust=0.0,
    vocabulary=VOCABULARY,
    single_piece=tuple(
        label for label, name in VOCABULARY if name not in ("aorta", "inferior vena cava", "esophagus")
    ),
    licence="Apache-2.0",
    provenance="trained by benchmarks/built_in_model of the Vesalius repository",
    citation=(
        "Data: OpenKBP (Babier et al., Med. Phys. 48 (2021) 5549, MIT); Colorectal-Liver-Metastases of TCIA "
        "(Simpson et al. 2023, CC BY 4.0); Soft-tissue-Sarcoma of TCIA (Vallieres et al. 2015, CC BY 3.0); Chest "
        "Imaging Platform (BSD); TotalSegmentator's test crops (Apache-2.0); SPL abdominal atlas (Slicer licence). "
        "Network: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285)"
    ),
)
