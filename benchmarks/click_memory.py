"""Memory of a long session: 200 clicks all over a large phantom, full-width network, one session.

The clicks fall at random on the phantom's structures, so that more windows are seen than the cache holds. Says the
peak resident set beside what the process held before the session began (weights, volume), what the cache held and
was asked, and the seconds of a click.

    python benchmarks/click_memory.py [--shape 512,512,400 --spacing 0.75,0.75,1 --clicks 200]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import sides
from auto_vs_monai import write_weights


def main() -> None:
    """Click, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="512,512,400")
    parser.add_argument("--spacing", default="0.75,0.75,1")
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--cache-gb", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where seeded weights are kept; by default a new one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    import vesalius
    from vesalius.data.phantom import PhantomConfig, make_phantom
    from vesalius.inference.plan import resident_bytes
    from vesalius.inference.segmenter import SegmentOptions

    segmenter = vesalius.load(write_weights(Path(options.folder or tempfile.mkdtemp(prefix="click_memory_"))))
    i, j, k = (int(n) for n in options.shape.split(","))
    di, dj, dk = (float(n) for n in options.spacing.split(","))
    config = PhantomConfig(shape=(i, j, k), spacing_mm=(di, dj, dk), overlaps=False)
    volume, truth = make_phantom(config)
    rng = np.random.default_rng(0)
    places = rng.choice(np.flatnonzero(truth.data.ravel(order="K")), options.clicks, replace=False)
    strides = np.argsort([-stride for stride in truth.data.strides], kind="stable")
    unravelled = np.unravel_index(places, [truth.data.shape[axis] for axis in strides])
    voxels = np.stack(unravelled, axis=1)[:, np.argsort(strides)].tolist()
    names = ["liver", "spleen", "aorta", "new:first", "new:second"]
    before = resident_bytes()
    sides.forget_peak()
    session = vesalius.Session(
        segmenter,
        volume,
        cache_bytes=int(options.cache_gb * 1e9),
        options=SegmentOptions(unvalidated=True),
    )
    prepared, seconds = resident_bytes(), []
    for number, voxel in enumerate(voxels):
        start = time.perf_counter()
        name = names[number % len(names)]
        session.add(vesalius.PointPrompt(target=name, voxel=tuple(float(at) for at in voxel)))
        session.predict()
        seconds.append(time.perf_counter() - start)
    maps = session.image_maps
    row = {
        "clicks": len(voxels),
        "peak_beside_weights_and_volume_gb": sides.peak_since_gigabytes() - before / 1e9,
        "held_after_opening_gb": (prepared - before) / 1e9,
        "held_at_the_end_gb": (resident_bytes() - before) / 1e9,
        "weights_and_volume_gb": before / 1e9,
        "cache_limit_gb": options.cache_gb,
        "cache_held_gb": maps.held_bytes / 1e9,
        "windows_computed": maps.misses,
        "windows_from_cache": maps.hits,
        "median_click_s": statistics.median(seconds),
        "slowest_click_s": max(seconds),
    }
    sides.print_table([["what", "value"], *map(list, row.items())])
    sides.write_result("click_memory", {"shape": [i, j, k], "spacing_mm": [di, dj, dk], **row})


if __name__ == "__main__":
    main()
