"""Training windows per second on two cores: ours out of the compressed cache, MONAI's out of memory.

Both take the same head-and-neck scans with their labels at 1.5 mm, and draw windows of 96^3 near a class, each
class as often as any other, turned and scaled in six of ten windows, with noise in 0.3, coarser voxels in 0.1 and a
scale and shift of intensities in 0.5 of them. Ours: ``prepare_list`` and ``WindowCutter``, two threads, as the
training loop draws. MONAI: ``CacheDataset`` with every case in memory, its dictionary transforms, ``DataLoader``
with two workers; as VISTA3D's script has it, and with each class's voxels listed once in the cache (`indexed`),
which MONAI also offers. Ours turns a window inside its scan; MONAI's turns the cut window, so that its corners are
padding: the cheaper way. Beside windows per second stands the processor time of a window, which a busy machine
changes less.

    python benchmarks/loader.py [--window 96] [--windows 80] [--cases 8]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides

SIDES = ("monai", "monai-indexed", "vesalius")
LABELS = {"1": "brainstem", "2": "spinal cord", "3": "right parotid gland", "4": "left parotid gland"}
LABELS |= {"5": "mandible"}
SPACING_MM = (1.5, 1.5, 1.5)
WINDOW_HU = (-963.8, 1053.7)
WORKERS = 2


def files(count: int) -> list[dict[str, str]]:
    """Return image and label of the first cases."""
    folder = sides.SHARED_DATA / "openkbp-hn-ct" / "train"
    images = sorted(folder.glob("*_ct.nii.gz"))[:count]
    return [{"image": str(path), "label": str(path).replace("_ct.", "_seg.")} for path in images]


def ours(options: argparse.Namespace, cache: Path) -> Iterator[object]:
    """Yield windows without end, drawn by two threads, each from its own seed, a few ahead."""
    from vesalius.data.cache import Cache
    from vesalius.data.datalists.read import read_list
    from vesalius.data.prepare import prepare_list
    from vesalius.engine.settings import LoopSettings
    from vesalius.spec import ModelSpec, VistaArchitecture
    from vesalius.training.recipes import VistaRecipe
    from vesalius.training.window_cutting import WindowCutter

    path = cache / "list.json"
    path.write_text(json.dumps({"modality": "CT", "label_mapping": LABELS | {"6": None, "7": None},
                                "training": files(options.cases)}))  # fmt: skip
    spec = ModelSpec(
        name="loader", architecture=VistaArchitecture(), spacing_mm=SPACING_MM, window_hu=WINDOW_HU,
        window_size=(96, 96, 96), vocabulary=tuple((int(label), name) for label, name in LABELS.items()),
    )  # fmt: skip
    cases = prepare_list(read_list(path, allow_outside=True), spec, Cache(cache / "cases"))
    recipe = VistaRecipe(window_size=(options.window,) * 3, loop=LoopSettings(steps=1))
    cutter = WindowCutter(cases, spec, recipe=recipe)
    with ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        step, ahead = 0, []
        while True:
            while len(ahead) < WORKERS + 2:
                ahead.append(pool.submit(cutter.cut, np.random.default_rng((0, step, 0))))
                step += 1
            yield ahead.pop(0).result()


def monais(options: argparse.Namespace, *, indexed: bool) -> Iterator[object]:
    """Yield MONAI's windows without end."""
    from monai import transforms
    from monai.data import CacheDataset, DataLoader
    from torch.utils.data import RandomSampler

    keys, size = ("image", "label"), (options.window,) * 3
    classes = len(LABELS) + 1
    fixed: list[Any] = [
        transforms.LoadImaged(keys, ensure_channel_first=True, image_only=True),
        transforms.Orientationd(keys, "RAS", labels=None),
        transforms.Spacingd(keys, SPACING_MM, mode=("bilinear", "nearest")),
        transforms.ScaleIntensityRanged("image", *WINDOW_HU, 0, 1, clip=True),
        transforms.MapLabelValued("label", [6, 7], [0, 0]),
        transforms.CropForegroundd(keys, source_key="image", margin=10),
        transforms.SpatialPadd(keys, size),
        transforms.EnsureTyped("label", dtype=torch.uint8),
    ]
    if indexed:
        fixed.append(transforms.ClassesToIndicesd("label", num_classes=classes, max_samples_per_class=4096))
    drawn: list[Any] = [
        transforms.RandCropByLabelClassesd(
            keys, "label", size, ratios=[1] * classes, num_classes=classes, num_samples=1,
            indices_key="label_cls_indices" if indexed else None, warn=False,
        ),
        transforms.RandAffined(
            keys, prob=0.6, rotate_range=[np.pi / 15] * 3, scale_range=[0.18] * 3, mode=("bilinear", "nearest"),
            padding_mode="zeros", cache_grid=True, spatial_size=size,
        ),
        transforms.RandGaussianNoised("image", prob=0.3, std=0.015),
        transforms.RandSimulateLowResolutiond("image", prob=0.1, zoom_range=(0.4, 0.83)),
        transforms.RandScaleIntensityd("image", 0.05, prob=0.5),
        transforms.RandShiftIntensityd("image", 0.006, prob=0.5),
    ]  # fmt: skip
    data = CacheDataset(files(options.cases), transforms.Compose(fixed + drawn), progress=False, num_workers=1)
    endless = RandomSampler(data, replacement=True, num_samples=1_000_000)
    yield from DataLoader(data, batch_size=1, sampler=endless, num_workers=WORKERS)


def measure_side(options: argparse.Namespace) -> None:
    """Draw windows for a while, and print how many a second as JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make: dict[str, Callable[[], Iterator[object]]] = {
            "vesalius": lambda: ours(options, Path(folder)),
            "monai": lambda: monais(options, indexed=False),
            "monai-indexed": lambda: monais(options, indexed=True),
        }
        windows = make[options.side]()
        for _ in range(4):  # caches are filled, workers started
            next(windows)
        begun, spent = time.perf_counter(), processor_seconds()
        for _ in range(options.windows):
            next(windows)
        seconds = time.perf_counter() - begun
        windows.close()  # type: ignore[attr-defined] # workers end, and their time is counted
        spent = processor_seconds() - spent
    print(json.dumps({
        "windows_per_second": options.windows / seconds,
        "processor_ms_per_window": 1000 * spent / options.windows,
        "peak_gb": sides.peak_gigabytes(),
    }))  # fmt: skip


def processor_seconds() -> float:
    """Return the processor time of this process and of its ended children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    """Run every side, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--windows", type=int, default=80, help="windows counted")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure_side(options)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    arguments = [
        part for name in ("window", "windows", "cases") for part in (f"--{name}", str(getattr(options, name)))
    ]
    before = os.getloadavg()[0]
    measured: dict[str, dict[str, float]] = {side: sides.run_side(__file__, side, *arguments) for side in SIDES}
    for side in SIDES:
        own, other = measured["vesalius"], measured[side]
        measured[side]["ours_to_it"] = own["windows_per_second"] / other["windows_per_second"]
        measured[side]["ours_to_it_by_processor"] = (
            other["processor_ms_per_window"] / own["processor_ms_per_window"]
        )
    columns = list(measured["vesalius"])
    sides.print_table([["side", *columns], *([side, *row.values()] for side, row in measured.items())])
    load = {"before": before, "after": os.getloadavg()[0]}
    sides.write_result("loader", {**vars(options), "workers": WORKERS, "load_average": load, "sides": measured})


if __name__ == "__main__":
    main()
