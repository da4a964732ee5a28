"""Plain folders: images and labels that belong together by their names.

Either two folders (``images`` and ``labels``, ``imagesTr`` and ``labelsTr``, ``mr_images`` and ``mr_labels``) or
one (``pt_1_ct.nii.gz`` and ``pt_1_seg.nii.gz``), in the folder itself or in ``train``, ``val`` and ``test`` inside
it. What label ids mean may stand in a ``labels.json`` ({"1": "liver"}) beside them. Names as BIDS has them
(``sub-07_ses-1_ct.nii.gz``) say whom a scan shows.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vesalius.data.datalists.paths import Root, is_image, name_of, stem_of, subject_of
from vesalius.data.datalists.record import DataList, ListedCase, Split
from vesalius.errors import FileFormatError
from vesalius.geometry.volume import Modality
from vesalius.io import label_table

_SPLITS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), "training"),
    **dict.fromkeys(("val", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
_FOLDER_SPLITS: Mapping[str, Split] = {"tr": "training", "ts": "test", "val": "validation"}
_CT_WORDS = frozenset(("ct", "cta"))
_MR_WORDS = frozenset(("mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "dwi", "adc"))
_IMAGE_WORDS = frozenset(("image", "images", "img", "scan", "volume", "0000")) | _CT_WORDS | _MR_WORDS
_LABEL_WORDS = frozenset(
    ("label", "labels", "labelmap", "seg", "segmentation", "segmentations", "mask", "masks", "msk", "gt", "manual")
)
_IMAGE_WORD_AT_END = re.compile(rf"[^A-Za-z0-9]+(?:{'|'.join(sorted(_IMAGE_WORDS))})$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_FOLDER = re.compile(r"^(.*?)(images?|imgs?|labels?|masks?|segs?|segmentations?)(tr|ts|val)?$", re.IGNORECASE)


def read(folder: Path, root: Root) -> DataList:
    """Read a folder.

    Raises:
        FileFormatError: If a label has no image, or several belong to one.
        UnsafeFileError: If a link leads out of the root.
    """
    parts: list[tuple[Path, Split]] = [(folder, "training")]
    parts += [(part, _SPLITS[part.name.lower()]) for part in _subfolders(folder) if part.name.lower() in _SPLITS]
    cases = [case for part, split in parts for case in _of_part(part, split, root)]
    return DataList(
        name=name_of(folder),
        path=folder,
        format="folders",
        cases=tuple(cases),
        meanings=dict(label_table.from_sidecar(folder / "labels")),
        modality=_modality(cases),
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _of_part(folder: Path, split: Split, root: Root) -> Iterator[ListedCase]:
    """Yield the cases of pairs of folders, and of a folder that holds both."""
    named: dict[tuple[str, str], dict[bool, Path]] = {}
    for child in _subfolders(folder):
        if match := _FOLDER.match(child.name):
            key = (match[1].lower(), (match[3] or "").lower())
            named.setdefault(key, {})[match[2].lower().startswith(("image", "img"))] = child
    for (_, end), pair in named.items():
        if True in pair:
            labels = _images(pair[False]) if False in pair else []
            yield from _matched(_images(pair[True]), labels, _FOLDER_SPLITS.get(end, split), root, folder)
    files = _images(folder)
    labels = [file for file in files if _words(file) & _LABEL_WORDS]
    images = [file for file in files if not _words(file) & _LABEL_WORDS]
    yield from _matched(images, labels, split, root, folder)


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if is_image(file))


def _words(file: Path) -> set[str]:
    return {word for word in _SEPARATORS.split(stem_of(file).lower()) if word}


def _key(file: Path, without: frozenset[str]) -> str:
    """Return a name without the words that say what kind of file it is."""
    return " ".join(word for word in _SEPARATORS.split(stem_of(file).lower()) if word and word not in without)


def _matched(
    images: Sequence[Path], labels: Sequence[Path], split: Split, root: Root, folder: Path
) -> Iterator[ListedCase]:
    """Pair images and labels: by equal names but for the words of labels, else but for those of images, too."""
    pairs: dict[Path, Path] = {}
    paired: set[Path] = set()
    for left_out in (frozenset[str](), _IMAGE_WORDS):
        by_key: dict[str, list[Path]] = {}
        for image in images:
            by_key.setdefault(_key(image, left_out), []).append(image)
        for label in labels:
            found = by_key.get(_key(label, _LABEL_WORDS | left_out), [])
            if label in paired or not found:
                continue
            if len(found) > 1 or found[0] in pairs:
                raise _ambiguous(folder, label, [*found, *(pairs[i] for i in found if i in pairs)])
            pairs[found[0]] = label
            paired.add(label)
    alone = [label for label in labels if label not in paired]
    if alone:
        raise _ambiguous(folder, alone[0], [])
    keys = Counter(_key(image, _IMAGE_WORDS) for image in images)
    for image in images:
        yield ListedCase(
            name=_name(image) if keys[_key(image, _IMAGE_WORDS)] == 1 else stem_of(image),
            split=split,
            image=root.found(image),
            label=root.found(pairs[image]) if image in pairs else None,
            patient=subject_of(image),
        )


def _name(image: Path) -> str:
    """Return the image's name without the word at its end that says it is one."""
    return _IMAGE_WORD_AT_END.sub("", stem_of(image))


def _modality(cases: Sequence[ListedCase]) -> Modality:
    words = [_words(case.image) | _words(case.image.parent) for case in cases]
    if words and all(found & _CT_WORDS for found in words):
        return "CT"
    return "MR" if words and all(found & _MR_WORDS for found in words) else "unknown"


def _ambiguous(folder: Path, label: Path, others: Sequence[Path]) -> FileFormatError:
    names = ", ".join(path.name for path in others)
    return FileFormatError(
        expected=f"one image for every label in {folder}, by its name",
        got=f"{label.name}, which would go with {names}" if others else f"{label.name}, which goes with none",
        do='move it away, or write a list: {"training": [{"image": "...", "label": "..."}]}',
    )
