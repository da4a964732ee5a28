"""The models that have a name: where their weights are, what they must weigh and hash to, and under which licence.

Plain data; no torch, so that ``vesalius models list`` answers at once.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vesalius.errors import UnknownModelError
from vesalius.labels.vista3d import EVERYTHING, STRUCTURES
from vesalius.spec import ModelSpec, VistaArchitecture

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
    """Branch, tag or commit of the repository. A branch can move: the hash below, or the one recorded on the first
    pull, is what pins the weights."""
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

_VISTA3D_LICENCE_NOTE = (
    "The hub page states the NVIDIA Open Model License (commercial use allowed). The publisher's GitHub repository "
    "contradicts itself: one table calls the weights commercial-friendly, its licence section and file say NVIDIA "
    "OneWay Noncommercial, and the MONAI bundle says NCLS v1. Read the terms on the page you download from and ask "
    "NVIDIA before commercial use. Vesalius does not redistribute these weights."
)

CATALOG: tuple[CatalogRow, ...] = (
    CatalogRow(
        name="vesalius-small",
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
