"""Labels to go on from: a label file, or a result folder with its overlap layers, on the voxels of a volume."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from vesalius.errors import FileFormatError, GeometryError
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import read_labels
from vesalius.io.seg_slices import with_empty_slices
from vesalius.labels.findings import Finding
from vesalius.labels.spelling import exact_key

_BASE = "labels.nii.gz"
_WITH_ALL_LAYERS = ("labels.seg.nrrd", "labels.seg.dcm")


def read_earlier_labels(path: Path, volume: Volume) -> LabelMap:
    """Read labels that lie on the voxels of a volume.

    Args:
        path: A label file, or the folder of a result: of that all layers are read.
        volume: The image; the labels come back on exactly its grid, axes permuted and flipped where they differ,
            and 0 on slices that a DICOM SEG leaves out.

    Raises:
        FileFormatError: If there are no labels, two of them have one name, or a layer that ``labels.json`` names
            is missing.
        GeometryError: If they lie on other voxels.
        InputError: As ``read_labels``.
    """
    labels = read_result_labels(path)
    _check_names(path, labels)
    placed = with_empty_slices(labels, volume.grid).reoriented(volume.grid.axis_codes)
    if not placed.grid.is_close(volume.grid):
        raise GeometryError(
            expected=f"labels on the {' x '.join(map(str, volume.grid.shape))} voxels of the image",
            got=f"{path.name} with {' x '.join(map(str, labels.grid.shape))} voxels, or at another place",
            do="give the labels that were made of this image",
        )
    return LabelMap(placed.data, volume.grid, placed.names, placed.overlaps, volume.source)


def read_result_labels(path: Path) -> LabelMap:
    """Read a label file, or all layers of a result folder, on their own grid.

    Raises:
        FileFormatError: If there are no labels, or a layer that ``labels.json`` names is missing.
        InputError: As ``read_labels``.
    """
    return _read_folder(path) if is_result(path) else read_labels(path)


def read_earlier_findings(path: Path) -> tuple[Finding, ...]:
    """Read what was found when labels were made; of a label file alone nothing is known.

    Raises:
        FileFormatError: If ``labels.json`` of the folder is damaged.
    """
    if not is_result(path):
        return ()
    try:
        record = json.loads((path / "labels.json").read_text("utf-8"))
        return tuple(Finding.of_dict(entry) for entry in record["classes"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise _no_record(path, error) from None


def is_result(path: Path) -> bool:
    """Say whether a folder is one that ``vesalius segment`` wrote.

    A ``labels.json`` alone does not tell: beside many label files it is the table of their ids.
    """
    files = ((path / name).is_file() for name in (_BASE, *_WITH_ALL_LAYERS))
    return (path / "labels.json").is_file() and any(files)


def _check_names(path: Path, labels: LabelMap) -> None:
    keys = Counter(exact_key(name) for name in labels.names.values())
    twice = next((name for name in labels.names.values() if keys[exact_key(name)] > 1), None)
    if twice is not None:
        raise FileFormatError(
            expected="labels in which every structure has a name of its own",
            got=f"{path.name}, in which {twice!r} stands for several",
            do="give each another name, so that a click can say which is meant",
        )


def _read_folder(folder: Path) -> LabelMap:
    if not (folder / _BASE).is_file():
        for name in _WITH_ALL_LAYERS:
            if (folder / name).is_file():
                return read_labels(folder / name)
    base = read_labels(folder / _BASE)
    layers, names = {}, dict(base.names)
    for layer, name in _layer_files(folder).items():
        labels = read_labels(folder / name)
        if not labels.grid.is_close(base.grid):
            raise GeometryError(
                expected="all layers of a result on the same voxels",
                got=f"{name}, which lies elsewhere than {_BASE}",
                do="give the folder as `vesalius segment` wrote it",
            )
        layers[layer] = labels.data
        names = {**labels.names, **names}
    return LabelMap(base.data, base.grid, names, layers, base.source)


def _layer_files(folder: Path) -> dict[str, str]:
    """Return layer name -> file name, as ``labels.json`` states them; they lie in the folder itself."""
    try:
        record = json.loads((folder / "labels.json").read_text("utf-8"))
        layers = {str(layer): str(name) for layer, name in record.get("overlaps", {}).items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _no_record(folder, error) from None
    for name in layers.values():
        if Path(name).name != name or not (folder / name).is_file():
            raise FileFormatError(
                expected=f"the layers that labels.json names in {folder}",
                got=f"no {name}",
                do="give the whole folder, or name the label file itself to go on without its layers",
            )
    return layers


def _no_record(folder: Path, error: Exception) -> FileFormatError:
    return FileFormatError(
        expected=f"a result of `vesalius segment` in {folder}",
        got=f"labels.json: {error}",
        do="name the label file itself",
    )
