"""Is a slice known again, and is no other patient's taken for it: likeness over the shared CT.

Every so many slices of each scan are looked up in a gallery of all of them: as they are, and changed as somebody
might change a scan before handing it on (finer or coarser pixels, clipped to a window that is stretched over other
numbers). The nearest of the same scan says how surely a copy is known, the nearest of any other how near a false
alarm is.

    python benchmarks/slice_likeness.py [--every 9]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

import sides
from vesalius.data.likeness import ALIKE, Gallery, pictures_in_windows, pictures_of
from vesalius.io.formats import read

PLACES = (
    "openkbp-hn-ct/*/*_ct.nii.gz",
    "sts-tumour-ct/train/*_ct.nii.gz",
    "abdomen-ct-silver/*_ct.nii.gz",
    "totalsegmentator-example/*_ct.nii.gz",
    "totalsegmentator-example/example_ct_dicom",
    "cip-lung-ct/ct-64.nrrd",
)
FOLDS = 6
"""A slice is compared with the scans of the other folds: galleries of all scans but one would take long to make."""
LEAST_BODY = 0.05
"""Of a slice: those with less denser than air are not looked at."""
CHANGES: dict[str, tuple[float, tuple[float, float] | None]] = {
    "as they are": (1.0, None),
    "1.3 times the size": (1.3, None),
    "0.75 of the size, clipped to soft tissue": (0.75, (-160.0, 240.0)),
}


def scans(every: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield some slices of each scan, ``[n h w]``."""
    for path in sorted(path for place in PLACES for path in sides.SHARED_DATA.glob(place)):
        data = np.moveaxis(read(path).reoriented("PLS").data[0], 2, 0).clip(-1024, 3000)
        shown = data[(data > -500).mean(axis=(1, 2)) > LEAST_BODY][::every]
        if len(shown):
            yield path.name, shown.astype(np.float32)


def changed(slices: np.ndarray, factor: float, window_hu: tuple[float, float] | None) -> np.ndarray:
    """Return slices of another size, in another window stretched over -1000 to 1000."""
    size = [round(side * factor) for side in slices.shape[1:]]
    image = torch.from_numpy(slices)[:, None]
    if factor != 1:
        image = functional.interpolate(image, size=size, mode="bilinear", antialias=True)
    if window_hu is None:
        return image[:, 0].numpy()
    low, high = window_hu
    return np.round((image[:, 0].numpy().clip(low, high) - low) / (high - low) * 255) * (2000 / 255) - 1000


def gallery_of(some: Sequence[tuple[str, np.ndarray]]) -> Gallery:
    """Return the gallery that a store would keep of scans."""
    cases: list[str] = []
    numbers: list[int] = []
    pictures = []
    for name, slices in some:
        for in_window in pictures_in_windows(slices):
            cases += [name] * len(slices)
            numbers += range(len(slices))
            pictures.append(in_window)
    return Gallery.of(cases, numbers, pictures)


def measured(every: int) -> dict[str, object]:
    """Look every slice up among those of its own scan, and among those of all scans in the other folds."""
    named = list(scans(every))
    own: dict[str, list[float]] = {what: [] for what in CHANGES}
    other: dict[str, list[float]] = {what: [] for what in CHANGES}
    for fold in range(FOLDS):
        others = gallery_of([one for number, one in enumerate(named) if number % FOLDS != fold])
        for name, slices in named[fold::FOLDS]:
            itself = gallery_of([(name, slices)])
            for what, (factor, window_hu) in CHANGES.items():
                pictures = pictures_of(changed(slices, factor, window_hu))
                own[what] += [match.likeness if match else 0.0 for match in itself.nearest(pictures)]
                other[what] += [match.likeness if match else 0.0 for match in others.nearest(pictures)]
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
    rows = {
        what: {
            "known_again": round(float(np.mean(np.array(own[what]) >= ALIKE)), 4),
            "own_quantile_1_percent": round(float(np.quantile(own[what], 0.01)), 3),
            "nearest_other_patient": round(max(other[what]), 4),
            "false_alarms": int(sum(one >= ALIKE for one in other[what])),
        }
        for what in CHANGES
    }
    slices = sum(len(slices) for _, slices in named)
    return {"scans": len(named), "slices": slices, "alike": ALIKE, "changes": rows}


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=9)
    args = parser.parse_args()
    found = measured(args.every)
    print(json.dumps(found, indent=1))
    sides.write_result("slice_likeness", found)


if __name__ == "__main__":
    main()
