"""Memory of a long session: 200 clicks over a large phantom, full-width network, one session.

A user goes through twenty structures, the largest the phantom has, with a few clicks on each, and then through all
of them once more: clicks fall at random inside the structure, so that windows are left and come back to. The
cache is smaller than all image maps together, so that it has to forget some. Says the peak resident set beside what
the process held when the weights were loaded (the volume counts), what the cache held and was asked, and the
seconds of a click.

    python benchmarks/click_memory.py [--shape 512,512,400 --spacing 0.75,0.75,1 --clicks 200]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides
from auto_vs_monai import write_weights

ROUNDS = 2


def main() -> None:
    """Click, print a table, write the JSON."""
    options = parse()
    torch.set_num_threads(options.threads)

    import vesalius
    from vesalius.allowance import resident_bytes
    from vesalius.data.phantom import PhantomConfig, make_phantom
    from vesalius.inference.segmenter import SegmentOptions

    segmenter = vesalius.load(write_weights(Path(options.folder or tempfile.mkdtemp(prefix="click_memory_"))))
    with torch.inference_mode():  # what the first pass sets up once is no part of a session
        segmenter.network.point_features(torch.rand(1, 1, 64, 64, 64))
    weights = resident_bytes()
    i, j, k = (int(n) for n in options.shape.split(","))
    di, dj, dk = (float(n) for n in options.spacing.split(","))
    config = PhantomConfig(shape=(i, j, k), spacing_mm=(di, dj, dk), overlaps=False)
    volume, truth = make_phantom(config)
    clicks = itinerary(truth, options.clicks, options.structures)
    del truth
    with_volume = resident_bytes()
    sides.forget_peak()
    cache_bytes, unvalidated = int(options.cache_gb * 1e9), SegmentOptions(unvalidated=True)
    session = vesalius.Session(segmenter, volume, cache_bytes=cache_bytes, options=unvalidated)
    seconds = []
    for name, voxel in clicks:
        start = time.perf_counter()
        session.add(vesalius.PointPrompt(target=name, voxel=voxel))
        session.predict()
        seconds.append(time.perf_counter() - start)
        if len(seconds) % 20 == 0:
            print(f"  {len(seconds)} clicks, {sum(seconds):.0f} s", file=sys.stderr, flush=True)
    peak, maps = sides.peak_gigabytes(), session.image_maps
    row = {
        "clicks": len(clicks),
        "structures": len({name for name, _ in clicks}),
        "peak_beside_weights_gb": peak - weights / 1e9,
        "peak_beside_weights_and_volume_gb": peak - with_volume / 1e9,
        "held_at_the_end_beside_weights_gb": (resident_bytes() - weights) / 1e9,
        "weights_gb": weights / 1e9,
        "volume_gb": volume.data.nbytes / 1e9,
        "cache_limit_gb": options.cache_gb,
        "image_maps_held_gb": maps.held_bytes / 1e9,
        "windows": len(session.state.windows),
        "image_maps_computed": maps.misses,
        "image_maps_from_cache": maps.hits,
        "median_click_s": statistics.median(seconds),
        "slowest_click_s": max(seconds),
        "session_s": sum(seconds),
    }
    sides.print_table([["what", "value"], *map(list, row.items())])
    sizes = {"shape": [i, j, k], "spacing_mm": [di, dj, dk], "precision": segmenter.precision}
    sides.write_result(options.result, {**sizes, "threads": options.threads, **row})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="512,512,400")
    parser.add_argument("--spacing", default="0.75,0.75,1")
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--structures", type=int, default=20)
    parser.add_argument("--cache-gb", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where seeded weights are kept; by default a new one")
    parser.add_argument("--result", default="click_memory", help="name of the JSON")
    return parser.parse_args()


def itinerary(truth: Any, count: int, num_structures: int) -> list[tuple[str, tuple[float, float, float]]]:
    """Return clicks, in order: name of the structure, voxel.

    Args:
        truth: The phantom's labels.
        count: How many clicks; shared out evenly.
        num_structures: The largest ones, from the largest down, ``ROUNDS`` times.
    """
    rng = np.random.default_rng(0)
    sizes = np.bincount(truth.data.ravel(order="K"))
    sizes[0] = 0
    largest = np.argsort(sizes, kind="stable")[::-1][:num_structures].tolist()
    each = count // (num_structures * ROUNDS)
    clicks: dict[int, list[tuple[float, float, float]]] = {}
    for label in largest:
        voxels = np.argwhere(truth.data == label)
        places = voxels[rng.choice(len(voxels), each * ROUNDS, replace=False)].tolist()
        clicks[label] = [(float(i), float(j), float(k)) for i, j, k in places]
    return [
        (truth.names[label], voxel)
        for part in range(ROUNDS)
        for label in largest
        for voxel in clicks[label][part * each : (part + 1) * each]
    ]


if __name__ == "__main__":
    main()
