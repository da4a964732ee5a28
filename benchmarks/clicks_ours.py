"""Our side of the click benchmark: the very ``Session`` that users run."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides
from click_places import (
    FIRST,
    LIVER,
    Said,
    around,
    block_clicks,
    block_image,
    block_mask,
    centre,
    reference,
    seconds_of,
    session_clicks,
)

OUR_LATER = 10


class OurSide:
    """A model on one image, of which sessions are begun.

    Args:
        options: With the weights, the image and the name of the side, which may end in a precision.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        import vesalius

        self.segmenter = vesalius.load(
            options.weights, precision="fp32" if options.side.endswith("fp32") else "auto"
        )
        self.volume = vesalius.read(options.image)
        with torch.inference_mode():  # the network has run once
            self.segmenter.network.point_features(torch.rand(1, 1, 64, 64, 64))

    def begin(self, volume: Any = None, labels: Any = None) -> Any:
        """Begin a session, by default on the scan and from nothing."""
        import vesalius
        from vesalius.inference.segmenter import SegmentOptions

        seen = self.volume if volume is None else volume
        return vesalius.Session(self.segmenter, seen, labels=labels, options=SegmentOptions(unvalidated=True))


def click(session: Any, said: Said, target: str = "liver") -> float:
    """Click, and return the seconds until the mask stands on the scan's own grid."""
    import vesalius

    def act() -> None:
        session.add(vesalius.PointPrompt(target=target, voxel=said.voxel, positive=said.positive))
        session.predict()

    return seconds_of(act)


def vesalius_side(options: argparse.Namespace) -> dict[str, Any]:
    """Ask our session the four questions, and keep the masks and the logits to be compared."""
    import vesalius

    side, labels, folder = OurSide(options), reference(options), Path(options.folder)
    answer: dict[str, Any] = {}
    middles = [Said(centre(labels == label), True) for label in FIRST]
    answer["first_click_s"] = statistics.median(click(side.begin(), middle) for middle in middles)
    session, middle = side.begin(), Said(centre(labels == LIVER), True)
    click(session, middle)
    first = session.mask("liver")
    later = [click(session, Said(voxel, True)) for voxel in around(middle.voxel, OUR_LATER)]
    answer |= {"later_click_s": statistics.median(later), "later_clicks_s": later}
    session = side.begin()
    times = [click(session, said) for said in session_clicks(folder)]
    answer |= {"session_s": sum(times), "session_clicks_s": times}
    answer |= {"session_hits": session.image_maps.hits, "session_misses": session.image_maps.misses}
    last = session.mask("liver")
    for count in options.objects:
        session = side.begin()
        for number, voxel in enumerate(around(middle.voxel, count)):
            session.add(vesalius.PointPrompt(target=f"new:object {number}", voxel=voxel))
        answer[f"{count}_objects_s"] = seconds_of(session.predict)
    answer["peak_gb"] = sides.peak_gigabytes()
    np.savez_compressed(folder / f"masks_{options.side}.npz", first=first, session=last)
    _save_logits(side, options)
    return {**answer, "precision": side.segmenter.precision}


def block_side(options: argparse.Namespace) -> dict[str, Any]:
    """Correct the block: with the user's clicks alone told to the head, as MONAI's is told, and as users run it."""
    from vesalius.inference import anchors

    side, folder, most = OurSide(options), Path(options.folder), anchors.MOST
    anchors.MOST = 0
    alone = _corrected(side, folder)
    anchors.MOST = most
    np.savez_compressed(folder / f"masks_{options.side}.npz", alone=alone, anchored=_corrected(side, folder))
    return {"precision": side.segmenter.precision, "clicks": len(alone)}


def _corrected(side: OurSide, folder: Path) -> np.ndarray:
    """Correct the block's earlier mask by its clicks; return the mask after each of them, ``(n, i, j, k)``."""
    import vesalius
    from vesalius.geometry.volume import LabelMap

    block = vesalius.read(block_image(folder))
    earlier = LabelMap(block_mask(folder).astype(np.uint8), block.grid, {1: "liver"})
    session, masks = side.begin(block, earlier), []
    for said in block_clicks(folder):
        click(session, said)
        masks.append(session.mask("liver"))
    return np.stack(masks)


def _save_logits(side: OurSide, options: argparse.Namespace) -> None:
    """Ask our network about the window and click that MONAI's side left."""
    left = torch.load(Path(options.folder) / "monai_window.pt")
    ask = side.segmenter.network.point_logits
    with torch.inference_mode():
        logits = ask(left["window"], left["points"], torch.tensor([[1]]), torch.tensor([True]))
    torch.save(logits.float().clone(), Path(options.folder) / f"logits_{options.side}.pt")
