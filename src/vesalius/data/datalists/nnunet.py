"""nnU-Net's data sets: ``dataset.json`` beside ``imagesTr``, ``labelsTr`` and ``imagesTs``.

Images are ``{case}_{channel:04d}{file_ending}``, labels ``{case}{file_ending}``; ``dataset.json`` has
``channel_names``, ``labels`` (name -> id), ``file_ending`` and perhaps ``dataset`` with the files of every case.
Format: nnU-Net v2, documentation/dataset_format.md. Labels that are regions (lists of ids) are refused where nobody
says otherwise what one id means: their names do not.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vesalius.data.datalists.monai import meanings_of, modality_of
from vesalius.data.datalists.paths import Root, name_of
from vesalius.data.datalists.record import DataList, ListedCase, Split
from vesalius.errors import FileFormatError, UsageError
from vesalius.labels.mapping import Meaning

_IGNORE = "ignore"
_FOLDERS: tuple[tuple[Split, str, str], ...] = (
    ("training", "imagesTr", "labelsTr"),
    ("validation", "imagesVal", "labelsVal"),
    ("test", "imagesTs", "labelsTs"),
)


def recognises(content: Mapping[str, Any]) -> bool:
    """Say whether a JSON object is nnU-Net's ``dataset.json``."""
    return "channel_names" in content and "labels" in content


def read(
    path: Path,
    content: Mapping[str, Any],
    root: Root,
    *,
    channel: int | None = None,
    meanings: Mapping[int, Meaning] | None = None,
) -> DataList:
    """Read a data set.

    Args:
        path: Its ``dataset.json``.
        content: The object in it.
        root: Where its files lie.
        channel: Which channel is the image, where there are several.
        meanings: What label ids mean, whatever the labels are called.

    Raises:
        FileFormatError: If labels are regions, or the object is not what it should be.
        UsageError: If there are several channels and none was named, or one that is not there.
        UnsafeFileError: If a path leads out of the root.
    """
    names = content["channel_names"]
    if not isinstance(names, dict) or not isinstance(content.get("file_ending", ""), str):
        raise _bad(path, "channel_names or a file_ending of another kind")
    chosen = _channel({str(key): str(name) for key, name in names.items()}, channel, path)
    if meanings is None:
        meanings = _meanings(content, path)
    ending = content.get("file_ending", ".nii.gz")
    listed = content.get("dataset")
    cases = (
        _stated(listed, chosen, root, path)
        if isinstance(listed, dict)
        else _found(path.parent, chosen, ending, root)
    )
    return DataList(
        name=str(content.get("name") or name_of(path.parent)),
        path=path,
        format="nnunet",
        cases=tuple(cases),
        meanings=meanings,
        unknown=_ignored(content["labels"]),
        modality=modality_of(names[str(chosen)]),
    )


def _channel(names: Mapping[str, str], channel: int | None, path: Path) -> int:
    if channel is None and len(names) == 1:
        return int(next(iter(names)))
    if channel is None or str(channel) not in names:
        raise UsageError(
            expected=f"one of the channels of {name_of(path.parent)}: {', '.join(map(' '.join, names.items()))}",
            got="none named" if channel is None else str(channel),
            do="name the one to learn from with --channel; a model here sees one",
        )
    return channel


def _meanings(content: Mapping[str, Any], path: Path) -> dict[int, Meaning]:
    labels = content["labels"]
    if "label_mapping" in content:
        return meanings_of(content, path)
    if not isinstance(labels, dict) or not all(isinstance(label, int) for label in labels.values()):
        raise _bad(path, f"labels {str(labels)[:80]}")
    return {a: name for name, a in labels.items() if a != 0 and name != _IGNORE}


def _ignored(labels: object) -> frozenset[int]:
    """Return the ids that mean that nobody judged."""
    label = labels.get(_IGNORE) if isinstance(labels, dict) else None
    return frozenset({label} if isinstance(label, int) else ())


def _stated(listed: Mapping[str, Any], channel: int, root: Root, path: Path) -> Iterator[ListedCase]:
    for name, files in listed.items():
        try:
            image, label = files["images"][channel], files.get("label")
        except (TypeError, KeyError, IndexError, AttributeError):
            raise _bad(path, f"files of {name}: {str(files)[:80]}") from None
        yield ListedCase(name=name, image=root.resolve(image), label=root.resolve(label) if label else None)


def _found(folder: Path, channel: int, ending: str, root: Root) -> Iterator[ListedCase]:
    """Yield the cases of the folders; a training image without a label names the file that should be there."""
    end = f"_{channel:04d}{ending}"
    for split, images, labels in _FOLDERS:
        for image in sorted((folder / images).glob(f"*{end}")):
            name = image.name.removesuffix(end)
            label = root.found(folder / labels / f"{name}{ending}")
            is_expected = split == "training" or label.exists()
            yield ListedCase(name=name, split=split, image=root.found(image), label=label if is_expected else None)


def _bad(path: Path, got: str) -> FileFormatError:
    return FileFormatError(
        expected='{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ...}',
        got=f"{path.name}: {got}",
        do='correct it; for regions, say what each id means: "label_mapping": {"1": "liver", "2": "lung tumor"}',
    )
