"""Clicks on a real CT at full width: ours against MONAI's ``point_based_window_inferer``, as a user waits for them.

Each side is a process of its own, one after the other, with the same name-seeded weights: MONAI in fp32 with
``point_start`` at the newest click and the earlier result as ``prev_mask``; ours through the very ``Session`` users
run, in two columns: by default (bf16 where the processor has it), and in fp32 as MONAI. A click is timed until the
mask stands on the scan's own grid; loading, and preparing the volume, is not counted. Four questions: the first
click in a window, later clicks in it, a session of clicks of both signs as a simulated user makes them (in the
largest error of balls around the clicks before), and 1, 5 and 20 objects clicked in one window that was not seen
before (MONAI's inferer takes one object: its network is asked directly).

Compared are the logits of one click in one window, and final masks:

- ``block``: where none of MONAI's listed defects strikes. The image is one window on the model's own grid, so that
  both see the same voxels; an earlier mask is corrected by the session's clicks, one of them positive and inside
  it; the mask after each click. Twice: with our head told the user's clicks alone, as MONAI's is (what is left
  apart then: arithmetic, and a component's last voxels), and as users run it, told where the object is as well.
- ``first`` and ``session``: on the scan. Ours place windows on clusters of clicks, MONAI's on every click;
  resampling differs; a first click keeps what is connected to it, MONAI's whatever the window says; MONAI's later
  clicks outside the first window meet NaN (here written over with background between clicks, or nothing would be
  left) and paste a window's answer in place of the earlier one. With seeded weights, whose masks are as ragged as
  masks can be, these two say how far the rules differ, not who is right.

    python benchmarks/clicks_vs_monai.py [--image ../shared/data/totalsegmentator-example/example_ct.nii.gz]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides
from auto_vs_monai import EXAMPLE, write_weights
from click_places import simulate
from clicks_monai import monai_side
from clicks_ours import block_side, vesalius_side

OURS = ("vesalius", "vesalius-fp32")
BLOCKS = {"vesalius": "block", "vesalius-fp32": "block-fp32"}
RUN = {
    "simulate": simulate,
    "monai-fp32": monai_side,
    **dict.fromkeys(OURS, vesalius_side),
    **dict.fromkeys(BLOCKS.values(), block_side),
}


def main() -> None:
    """Run the sides, compare, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        warnings.simplefilter("ignore")
        print(json.dumps(RUN[options.side](options)))
        return
    folder = Path(options.folder or tempfile.mkdtemp(prefix="clicks_vs_monai_"))
    folder.mkdir(exist_ok=True, parents=True)
    weights = write_weights(folder)
    shared = ["--image", options.image, "--weights", str(weights), "--folder", str(folder)]
    shared += ["--threads", str(options.threads), "--clicks", str(options.clicks)]
    shared += ["--objects", *map(str, options.objects)]
    measured = {side: sides.run_side_once(folder, __file__, side, *shared) for side in RUN}
    theirs = measured["monai-fp32"]
    rows = [what for what, value in theirs.items() if isinstance(value, float)]
    ratios = {
        side: {what.removesuffix("_s"): measured[side][what] / theirs[what] for what in rows} for side in OURS
    }
    table = [
        [
            what,
            theirs[what],
            *(x for side in OURS for x in (measured[side][what], measured[side][what] / theirs[what])),
        ]
        for what in rows
    ]
    sides.print_table([["", "monai-fp32", *(x for side in OURS for x in (side, "ratio"))], *table])
    most = max(options.objects)
    for side in OURS:
        measured[side][f"{most}_objects_of_1"] = measured[side][f"{most}_objects_s"] / measured[side]["1_objects_s"]
    agreement = {side: {**_logits_agree(folder, side), "masks": _masks_agree(folder, side)} for side in OURS}
    print(json.dumps(agreement, indent=1))
    record = {"sides": measured, "kept": sides.kept_sides(folder, measured), "ratios": ratios}
    sides.write_result(options.result, {**record, "agreement_with_monai": agreement, "threads": options.threads})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--image", default=str(EXAMPLE), help="a CT; NAME_seg117.nii.gz beside it says where to click"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where the sides work; by default a new one")
    parser.add_argument("--clicks", type=int, default=10, help="of the session, and in the block")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5, 20], help="clicked at once; 1 among them")
    parser.add_argument("--result", default="clicks_vs_monai", help="name of the JSON")
    parser.add_argument("--side", choices=tuple(RUN), help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    return parser.parse_args()


def _logits_agree(folder: Path, side: str) -> dict[str, float]:
    """Say how far the logits of one click in one window lie from MONAI's, and how many have the same sign."""
    theirs = torch.load(folder / "monai_window.pt")["logits"].flatten()
    ours = torch.load(folder / f"logits_{side}.pt").flatten()
    return {
        "difference": ((ours - theirs).abs().max() / theirs.abs().max()).item(),
        "same_sign": ((ours > 0) == (theirs > 0)).float().mean().item(),
        "positive": (theirs > 0).float().mean().item(),
    }


def _masks_agree(folder: Path, side: str) -> dict[str, Any]:
    """Say how alike final masks are: Dice and the share of equal voxels; in the block after each click."""
    ours, block, theirs = (np.load(folder / f"masks_{name}.npz") for name in (side, BLOCKS[side], "monai-fp32"))
    earlier = np.load(folder / "block_earlier.npy")
    after = {
        told: [_alike(a, b) for a, b in zip(block[told], theirs["block"], strict=True)]
        for told in ("alone", "anchored")
    }
    return {
        "block": after["alone"][-1],
        "block_dice_after_each_click": [one["dice"] for one in after["alone"]],
        "block_with_anchors": after["anchored"][-1],
        "block_changed_by_monai": float((theirs["block"][-1] != earlier).mean()),
        **{what: _alike(ours[what], theirs[what]) for what in ("first", "session")},
    }


def _alike(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    both = int(ours.sum()) + int(theirs.sum())
    return {
        "dice": 2 * int((ours & theirs).sum()) / both if both else 1.0,
        "equal": float((ours == theirs).mean()),
        "share_of_monai": float(theirs.mean()),
        "share_of_ours": float(ours.mean()),
    }


if __name__ == "__main__":
    main()
