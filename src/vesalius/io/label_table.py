"""Names inside a NIfTI file: the Caret label table in the header extension, and the sidecar ``labels.json``.

The table is the one TotalSegmentator writes and reads and Connectome Workbench defines: XML
``CaretExtension/VolumeInformation/LabelTable/Label``, with ``Key``, a colour and the name as text.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vesalius.errors import FileFormatError
from vesalius.io.atomic import suffix_of
from vesalius.labels.spelling import is_text
from vesalius.labels.structure import Structure

CODE = 0
"""Unknown kind, as TotalSegmentator writes it: nibabel refuses to hand out the content of code 30, Caret's own."""
_SIDECAR_BYTES = 16 << 20
_COMMON = "labels.json"

_logger = logging.getLogger(__name__)


def to_xml(structures: Mapping[int, Structure]) -> bytes:
    """Return the label table of ``structures``, by label id, as the content of a header extension."""
    root = ElementTree.Element("CaretExtension")
    volume = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(volume, "LabelTable")
    for label, structure in structures.items():
        red, green, blue = (f"{channel / 255:.4f}" for channel in structure.colour)
        entry = ElementTree.SubElement(table, "Label", Key=str(label), Red=red, Green=green, Blue=blue, Alpha="1")
        entry.text = "".join(c if c.isprintable() else " " for c in structure.name)
    ElementTree.SubElement(volume, "StudyMetaDataLinkSet")
    ElementTree.SubElement(volume, "VolumeType").text = "Label"
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def from_extensions(contents: Iterable[bytes]) -> dict[int, str]:
    """Return label id -> name of the first extension that is a label table; empty where there is none.

    A document type, the door to entity bombs, makes an extension unreadable to us.
    """
    for content in contents:
        text = content.rstrip(b"\0").strip()
        if b"<CaretExtension" not in text or b"<!DOCTYPE" in text:
            continue
        try:
            entries = list(ElementTree.fromstring(text).iter("Label"))
            return {int(entry.attrib["Key"]): (entry.text or "").strip() for entry in entries}
        except (ElementTree.ParseError, KeyError, ValueError):
            continue
    return {}


def sidecar_of(path: Path) -> Path | None:
    """Return what names the ids of a label file from beside it: ``<its name>.json``, else ``labels.json``.

    A ``<its name>.json`` that names no label at all is another's: BIDS keeps there what it knows of the image. One
    that is damaged, or names some labels and has other keys beside them, is the label file's; reading it says why.
    """
    stem = path.name[: len(path.name) - len(suffix_of(path))]
    own, common = path.with_name(f"{stem}.json"), path.with_name(_COMMON)
    if own != common and own.is_file():
        if not _names_nothing(own):
            return own
        _logger.info("%s holds no names of labels", own.name)
    return common if common.is_file() else None


def from_sidecar(path: Path) -> dict[int, str]:
    """Return the names in the sidecar of a label file; empty where there is none.

    Either the object ``vesalius segment`` writes (``classes``: a list of ``id``, ``name``) or ``{"1": "liver"}``.

    Raises:
        FileFormatError: If it cannot be understood.
    """
    sidecar = sidecar_of(path)
    return {} if sidecar is None else _parse(sidecar)


def _names_nothing(sidecar: Path) -> bool:
    """Say whether it is an empty table, or a sound object without ``classes`` and without a label id for a key."""
    try:
        content = _content(sidecar)
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    return content["classes"] == [] if "classes" in content else not any(map(_is_whole, content))


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _content(sidecar: Path) -> Any:
    num_bytes = sidecar.stat().st_size
    if num_bytes > _SIDECAR_BYTES:
        raise ValueError(f"{num_bytes} bytes")
    return json.loads(sidecar.read_text("utf-8"))


def _parse(sidecar: Path) -> dict[int, str]:
    try:
        content = _content(sidecar)
        if isinstance(content.get("classes"), list):
            names = {int(entry["id"]): str(entry["name"]) for entry in content["classes"]}
        else:
            names = {int(label): str(name) for label, name in content.items()}
        if wrong := [name for name in names.values() if not is_text(name)]:
            raise ValueError(f"the name {wrong[0]!r}, which no file can hold")
        return names
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            expected='label names such as {"classes": [{"id": 1, "name": "liver"}]} or {"1": "liver"}',
            got=f"{sidecar.name}: {error}",
            do="mend the file, or move it away",
        ) from None
