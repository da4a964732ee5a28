"""A weights file before its tensors are read: what it is, whether every tensor is accounted for, and its spec.

The one place that decides between formats: our own, with a spec beside it or inside; or a foreign one that a file
of ``formats/`` recognises by its names.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesalius.checkpoints.content import Content, file_sha256, recognise
from vesalius.checkpoints.formats import (
    dinov3_official,
    meddinov3_official,
    nnunet_meddinov3,
    sam_official,
    timm_vit,
    transformers_vit,
    vista3d_official,
    vit_layout,
)
from vesalius.checkpoints.formats.nnunet_meddinov3 import SliceTranslation
from vesalius.checkpoints.formats.vit_layout import VitTranslation
from vesalius.checkpoints.header import Header, Shape, read_header
from vesalius.checkpoints.pytorch import PyTorchState, read_pytorch
from vesalius.checkpoints.safetensors import read_tensors
from vesalius.checkpoints.store import SPEC_FILE, stated_spec
from vesalius.errors import CheckpointError
from vesalius.models.outline import outline
from vesalius.spec import MedDinoArchitecture, ModelSpec, PromptedVitArchitecture, VitArchitecture

OURS = "vesalius"

VIT_LAYOUTS = (
    dinov3_official.LAYOUT,
    meddinov3_official.LAYOUT,
    meddinov3_official.ENCODER,
    meddinov3_official.FLEXICT,
    timm_vit.LAYOUT,
    transformers_vit.LAYOUT,
    transformers_vit.VERSION_4,
)
"""The foreign layouts of vision transformers; a file has the marks of one at most."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What was found in a weights file, and what became of it."""

    path: Path
    format: str
    """``vesalius``, ``vista3d monai`` or ``vista3d research``, ``sam``, or the name of one of ``VIT_LAYOUTS``."""
    container: Content
    """``safetensors``, ``torch zip`` or ``pickle`` (PyTorch's old format, read by its restricted loader)."""
    loaded: int
    """Tensors that are in use."""
    dropped: tuple[str, ...] = ()
    """Tensors of the file that are not used: never trained, of use in pretraining or for SAM's prompts only, or
    constants."""
    missing: tuple[str, ...] = ()
    """Tensors the format has and the file has not; only such as are not used anyway."""
    prefix: str = ""
    """What was stripped from every name."""
    wrapper: str = ""
    """The key the state dict stood under."""
    beside: tuple[str, ...] = ()
    """What stood beside the state dict and was left out."""

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, computed when first asked for (about a second per gigabyte)."""
        return file_sha256(self.path)

    def summary(self) -> str:
        """Say in one line what was loaded."""
        parts = [f"{self.format} ({self.container}): {self.loaded} tensors loaded"]
        parts += [f"{len(self.dropped)} unused tensors dropped"] if self.dropped else []
        parts += [f"{len(self.missing)} unused tensors missing"] if self.missing else []
        parts += [f"prefix {self.prefix!r} stripped"] if self.prefix else []
        parts += [f"taken from {self.wrapper!r}"] if self.wrapper else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A weights file that was recognised and found sound, before its tensors are read."""

    spec: ModelSpec
    report: LoadReport
    names: Mapping[str, str]
    """Name in the file -> our name, where tensors are taken as they are."""
    _translation: VitTranslation | SliceTranslation | None = field(default=None, repr=False)
    """How tensors are put together, where they are not."""
    _header: Header | None = field(default=None, repr=False)
    _state: PyTorchState | None = field(default=None, repr=False)

    def read(
        self, *, like: Mapping[str, Tensor] | None = None, device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """Read the tensors under our names; ``like`` gives each its type and layout."""
        if self._translation is not None:
            return self._assemble(self._translation, like, device)
        if self._header is not None:
            return read_tensors(self.report.path, self.names, like=like, device=device, header=self._header)
        assert self._state is not None
        result = {}
        for name, ours in self.names.items():
            tensor = self._state.tensors[name]
            template = tensor.contiguous() if like is None else like[ours]
            result[ours] = torch.empty_like(template, device=device, requires_grad=False).copy_(tensor)
        return result

    def _assemble(
        self,
        translation: VitTranslation | SliceTranslation,
        like: Mapping[str, Tensor] | None,
        device: torch.device | str,
    ) -> dict[str, Tensor]:
        if self._header is not None:
            stored = read_tensors(self.report.path, {name: name for name in translation.used}, header=self._header)
        else:
            assert self._state is not None
            stored = {name: self._state.tensors[name] for name in translation.used}
        sizes = self.spec.architecture
        encoder = sizes.encoder if isinstance(sizes, MedDinoArchitecture | PromptedVitArchitecture) else sizes
        assert isinstance(encoder, VitArchitecture)  # else its tensors did not fit
        result = {}
        for name, tensor in translation.assemble(stored, rope_base=encoder.rope_base).items():
            template = tensor if like is None else like[name]
            result[name] = torch.empty_like(template, device=device, requires_grad=False).copy_(tensor)
        return result


def open_weights(path: Path) -> WeightsFile:
    """Recognise a weights file and check that every tensor is accounted for, without reading the tensors.

    Raises:
        CheckpointError: If it is damaged, of no format we know, or does not fit its spec.
        UnsafeCheckpointError: If it would execute code.
    """
    container = recognise(path)
    header = read_header(path) if container == "safetensors" else None
    state = None if header else read_pytorch(path)
    if header is not None:
        shapes = header.shapes
    else:
        assert state is not None
        shapes = {name: tuple(tensor.shape) for name, tensor in state.tensors.items()}
    account: dict[str, Any] = {"path": path, "container": container}
    if state is not None:
        account |= {"wrapper": state.wrapper, "beside": state.beside}
    spec = stated_spec(path, header)
    names: Mapping[str, str] = {}
    translated = _translate_slices(shapes)
    if isinstance(translated, VitTranslation):
        spec = spec or vit_layout.spec_of(translated)
        account |= {"format": translated.layout.name, "prefix": translated.layout.prefix}
    elif translated is not None:
        spec = spec or nnunet_meddinov3.spec_of(translated, state.around if state else {})
        account |= {"format": nnunet_meddinov3.ENCODER.name}
    elif vista3d_official.recognises(shapes):
        translation = vista3d_official.translate(shapes)
        spec, names = spec or vista3d_official.spec_of(translation), translation.names
        account |= {
            "format": f"vista3d {translation.layout}",
            "prefix": translation.prefix,
            "dropped": translation.dropped,
            "missing": translation.absent,
        }
    elif sam_official.recognises(shapes):
        of_sam = sam_official.translate(shapes)
        spec, names = spec or sam_official.spec_of(of_sam), of_sam.names
        account |= {"format": "sam", "dropped": of_sam.dropped}
    elif spec is not None:
        names = {name: name for name in shapes}
        account |= {"format": OURS}
    else:
        raise _no_format(path, shapes)
    if translated is not None:
        account |= {"dropped": translated.dropped, "missing": translated.absent}
    _check_fit(path, spec, translated.shapes if translated else {names[name]: shapes[name] for name in names})
    report = LoadReport(loaded=len(shapes) - len(account.get("dropped", ())), **account)
    return WeightsFile(spec=spec, report=report, names=names, _translation=translated, _header=header, _state=state)


def _translate_slices(shapes: Mapping[str, Shape]) -> VitTranslation | SliceTranslation | None:
    """Return how the tensors of a foreign network of slices are put together, or nothing if it is none."""
    if nnunet_meddinov3.recognises(shapes):
        return nnunet_meddinov3.translate(shapes)
    layout = next((layout for layout in VIT_LAYOUTS if layout.recognises(shapes)), None)
    return vit_layout.translate_encoder(layout, shapes) if layout else None


def _check_fit(path: Path, spec: ModelSpec, shapes: Mapping[str, Shape]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in outline(spec.architecture).state_dict().items()}
    wrong = sorted(
        name for name in {*expected, *shapes} if name not in shapes or expected.get(name) != shapes[name]
    )
    if wrong:
        raise CheckpointError(
            expected=f"the {len(expected)} tensors that the spec of {spec.name} describes, in {path}",
            got=f"{len(wrong)} missing, unknown or of another shape: {', '.join(wrong[:6])}",
            do="put the spec.json beside the weights that it came with",
        )


def _no_format(path: Path, shapes: Mapping[str, Shape]) -> CheckpointError:
    return CheckpointError(
        expected=f"a model we know: ours with its {SPEC_FILE}, VISTA3D in one of its two official layouts, SAM in "
        f"its own, or a DINOv3 backbone as {', '.join(layout.name for layout in VIT_LAYOUTS)}",
        got=f"{path.name} with {len(shapes)} tensors named {', '.join(sorted(shapes)[:3])}, ...",
        do=f"put the {SPEC_FILE} of the model beside its model.safetensors, or take another file",
    )
