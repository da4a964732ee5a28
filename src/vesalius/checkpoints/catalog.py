"""The models that have a name: where their weights are, what they must weigh and hash to, and under which licence.

Plain data; no torch, so that ``vesalius models list`` answers at once.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.errors import UnknownModelError
from vesalius.labels.vista3d import EVERYTHING, STRUCTURES
from vesalius.spec import (
    SAM_BASE,
    SAM_HUGE,
    SAM_LARGE,
    VIT_BASE,
    VIT_LARGE,
    VIT_SMALL,
    ModelSpec,
    VistaArchitecture,
    VitArchitecture,
)

BUILTIN = Path(__file__).parent / "builtin"
"""The models that travel inside the package, a folder each."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class CatalogRow:
    """One model by name."""

    name: str
    summary: str
    licence: str
    licence_note: str = ""
    """What a user must know about the licence before downloading."""
    repo: str = ""
    """Hub repository; empty for a model inside the package."""
    revision: str = "main"
    """Branch, tag or commit of the repository. A branch can move: the commit that it was on the first pull is
    asked for ever after, and the hash below, or the one recorded on the first pull, is what pins the weights."""
    file: str = "model.safetensors"
    size_bytes: int | None = None
    """Exact size of the file, where it is known."""
    sha256: str = ""
    """Published hash of the file; empty where none is known, then the first pull records what came and every later
    one must equal it."""
    md5_of: Mapping[str, str] = field(default_factory=dict)
    """Known MD5 sums -> the file of the publisher each belongs to (all that some publishers state)."""
    spec: ModelSpec | None = None
    """What the model expects, for weights that come without a ``spec.json`` of ours."""

    @property
    def is_builtin(self) -> bool:
        """Whether the weights travel inside the package."""
        return not self.repo

    @property
    def page(self) -> str:
        """The web page of the repository."""
        return f"https://huggingface.co/{self.repo}" if self.repo else ""


VISTA3D_SPEC = ModelSpec(
    name="vista3d",
    version="NV-Segment-CT",
    architecture=VistaArchitecture(),
    regions=("head and neck", "chest", "abdomen", "pelvis", "thighs"),
    vocabulary=tuple((structure.id, structure.name) for structure in STRUCTURES),
    everything=EVERYTHING,
    licence="NVIDIA Open Model License",
    provenance="VISTA3D as published by NVIDIA (hub repository nvidia/NV-Segment-CT)",
    citation=(
        "He et al., VISTA3D: A Unified Segmentation Foundation Model For 3D Medical Imaging, CVPR 2025, "
        "arXiv:2406.05285"
    ),
)
"""What the published network expects: the bundle's own preprocessing, the defaults of ``ModelSpec``."""

MEDDINOV3_SPEC = ModelSpec(
    name="meddinov3",
    version="CT-3M",
    architecture=VIT_BASE,
    spacing_mm=(0.4464, 0.4464, 0.0),
    orientation="PLS",
    window_hu=(-1000.0, 1000.0),
    normalisation="fixed",
    mean_std_hu=(65.1084213256836, 178.01663208007812),
    window_size=(896, 896, 1),
    licence="Apache-2.0 as tagged by the publisher; continued from DINOv3, so its licence applies as well",
    provenance="MedDINOv3 as published (hub repository ricklisz123/MedDINOv3-ViTB-16-CT-3M)",
    citation="Li et al., MedDINOv3: How to adapt vision foundation models for medical image segmentation?, "
    "arXiv:2509.02379",
)
"""What the published backbone expects: the constants of its demo, slices as radiologists see them (rows run towards
the patient's back, columns to the left), and the size and spacing of the paper's high resolution (KiTS23)."""

DINOV3_SPECS = tuple(
    replace(
        MEDDINOV3_SPEC,
        name=f"dinov3-{letter}",
        version="LVD-1689M",
        architecture=replace(sizes, qkv_bias=True, norm_eps=1e-5),
        licence="DINOv3 License",
        provenance="DINOv3 as published by Meta; learnt from photographs",
        citation="Siméoni et al., DINOv3, arXiv:2508.10104",
    )
    for letter, sizes in (("s", VIT_SMALL), ("b", VIT_BASE), ("l", VIT_LARGE))
)
"""Meta's backbones never saw Hounsfield units: how they see CT is ours to choose, and here as MedDINOv3 went on."""

FLEXICT_SPEC = replace(
    MEDDINOV3_SPEC,
    name="flexict-2d",
    version="2D",
    architecture=VitArchitecture(in_channels=1, patch_size=8, width=864, depth=16),
    spacing_mm=(1.5, 1.5, 0.0),
    normalisation="slice",
    mean_std_hu=(0.0, 1.0),
    window_size=(256, 256, 1),
    licence="CC BY-NC-ND 4.0",
    provenance="FlexiCT's encoder for slices as published",
    citation="Li et al., FlexiCT, arXiv:2605.21906",
)

SAM_SPECS = tuple(
    ModelSpec(
        name=f"sam-{letter}",
        version="unknown",
        architecture=sizes,
        spacing_mm=(0.4, 0.4, 0.0),
        orientation="PLS",
        window_hu=(-1000.0, 1000.0),
        window_size=(1024, 1024, 1),
        licence="unknown",
        provenance="a checkpoint in the layout of Segment Anything; its names say no more of where it comes from",
        citation="Network: Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643",
    )
    for letter, sizes in (("b", SAM_BASE), ("l", SAM_LARGE), ("h", SAM_HUGE))
)
"""The published sizes, and how VISTA3D shows CT to them. Others trained on from them (MedSAM): a file does not say
whose weights it holds. A slice of any size fills the window; the spacing is what one of 40 cm then has."""

_DINOV3_LICENCE_NOTE = (
    "The DINOv3 License covers commercial use; whoever passes on these weights, or weights learnt from them, does "
    "so under the same agreement with a copy of it. The publisher gives the files out only after a form: accept it "
    "on the page, download the file there, and give its path. Vesalius does not redistribute these weights."
)
_MEDDINOV3_LICENCE_NOTE = (
    "The hub page is tagged Apache-2.0. The weights were learnt from Meta's DINOv3, whose licence asks that "
    "derivatives stay under it: treat them as under both. Images of the test sets of AMOS22, LiTS and BTCV were in "
    "the pretraining data, as its author says. Vesalius does not redistribute these weights."
)

_VISTA3D_LICENCE_NOTE = (
    "The hub page states the NVIDIA Open Model License (commercial use allowed). The publisher's GitHub repository "
    "contradicts itself: one table calls the weights commercial-friendly, its licence section and file say NVIDIA "
    "OneWay Noncommercial, and the MONAI bundle says NCLS v1. Read the terms on the page you download from and ask "
    "NVIDIA before commercial use. Vesalius does not redistribute these weights."
)

CATALOG: tuple[CatalogRow, ...] = (
    CatalogRow(
        name=DEFAULT_MODEL,
        summary="A small VISTA3D that travels inside the package; see its model card for what it was measured on.",
        licence="Apache-2.0",
    ),
    CatalogRow(
        name="vista3d",
        summary="The published VISTA3D: 117 structures of CT by name, and clicks on anything; 218 M parameters.",
        licence="NVIDIA Open Model License",
        licence_note=_VISTA3D_LICENCE_NOTE,
        repo="nvidia/NV-Segment-CT",
        file="vista3d_pretrained_model/model.safetensors",
        size_bytes=871_894_112,
        md5_of={"6ce45a8edde4400c5d28d5e74d7b61d5": "NVIDIA's model_vista3d.pt (MONAI bundle)"},
        spec=VISTA3D_SPEC,
    ),
    CatalogRow(
        name="meddinov3",
        summary="The published MedDINOv3: a ViT-B/16 that learnt from 3 M slices of CT; a backbone, to fine-tune.",
        licence="Apache-2.0, and DINOv3 License",
        licence_note=_MEDDINOV3_LICENCE_NOTE,
        repo="ricklisz123/MedDINOv3-ViTB-16-CT-3M",
        file="model.pth",
        spec=MEDDINOV3_SPEC,
    ),
    *(
        CatalogRow(
            name=spec.name,
            summary=f"Meta's DINOv3 ViT-{spec.name[-1].upper()}/16, learnt from photographs; to fine-tune.",
            licence=spec.licence,
            licence_note=_DINOV3_LICENCE_NOTE,
            repo=f"facebook/dinov3-vit{spec.name[-1]}16-pretrain-lvd1689m",
            spec=spec,
        )
        for spec in DINOV3_SPECS
    ),
)


def find_row(name: str) -> CatalogRow:
    """Return the catalog's row of a name, of its hub repository, or a row for any other ``owner/name`` on the hub.

    Raises:
        UnknownModelError: If there is none; with the names that look alike.
    """
    for row in CATALOG:
        if name and name in (row.name, row.repo):
            return row
    if _HUB_NAME.fullmatch(name):
        return CatalogRow(
            name=name,
            repo=name,
            summary="A repository on the hub that the catalog does not know.",
            licence="unknown",
            licence_note=f"Read https://huggingface.co/{name} before you use these weights.",
        )
    names = [row.name for row in CATALOG]
    alike = difflib.get_close_matches(name.lower(), names, n=1)
    raise UnknownModelError(
        expected=f"a model name ({', '.join(names)}), a model folder, a weights file, or owner/name on the hub",
        got=repr(name),
        do=f"did you mean {alike[0]!r}?" if alike else "see `vesalius models list`",
    )
