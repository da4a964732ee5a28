"""``vesalius phantom``: a synthetic torso with labels, as a DICOM series or as NIfTI."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesalius.geometry.volume import LabelMap, Volume

_FIELDS = ("shape", "spacing_mm", "seed", "region", "contrast", "tumours", "noise_hu")
"""Fields of ``PhantomConfig`` that have an argument; those not given keep the defaults that stand there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius phantom``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder for ct and labels; new or empty")
    parser.add_argument("--shape", type=_three(int), metavar="I,J,K", help="voxels along right, anterior, superior")
    parser.add_argument(
        "--spacing",
        type=_three(float),
        metavar="a,b,c",
        dest="spacing_mm",
        help="voxel size in mm; default: what makes the region fill the shape: few voxels become coarse",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="which person; default: 0")
    parser.add_argument(
        "--format", choices=("dicom", "nifti"), default="nifti", help="of the CT; default: %(default)s"
    )
    parser.add_argument("--region", choices=("torso", "chest", "abdomen", "pelvis"), help="what is in the middle")
    parser.add_argument(
        "--contrast", choices=("none", "arterial", "portal", "random"), help="phase of contrast agent"
    )
    parser.add_argument("--tumours", action="store_true", help="let lesions grow; they get a layer of their own")
    parser.add_argument(
        "--noise", type=float, dest="noise_hu", metavar="HU", help="standard deviation of the noise"
    )


def run(args: argparse.Namespace) -> int:
    """Build the phantom and write it: ``ct/`` or ``ct.nii.gz``, ``labels.nii.gz``, ``overlap_*.nii.gz``."""
    from vesalius.data.phantom import PhantomConfig, make_phantom

    asked = {name: value for name, value in vars(args).items() if name in _FIELDS and value is not None}
    config = PhantomConfig(**asked)
    _prepare(args.out)
    volume, labels = make_phantom(config)
    print("voxels of {:.3g} x {:.3g} x {:.3g} mm".format(*volume.grid.spacing_mm), file=sys.stderr)
    for path in _write(args.out, volume, labels, as_dicom=args.format == "dicom", seed=config.seed):
        print(path)
    return 0


def _prepare(out: Path) -> None:
    """Make the folder, or refuse one that holds something before a minute is spent."""
    from vesalius.errors import UsageError
    from vesalius.io.atomic import disk_errors

    with disk_errors(f"a folder {out}", do="name a folder that may be written to"):
        out.mkdir(parents=True, exist_ok=True)
        is_empty = next(out.iterdir(), None) is None
    if not is_empty:
        raise UsageError(
            expected="a new or empty folder", got=f"{out}, which holds files", do="name another folder"
        )


def _write(out: Path, volume: Volume, labels: LabelMap, *, as_dicom: bool, seed: int) -> list[Path]:
    from vesalius.io.dicom_writer import write_series
    from vesalius.io.formats import layer_of, write

    ct = out / ("ct" if as_dicom else "ct.nii.gz")
    if as_dicom:
        write_series(volume, ct, description=f"Vesalius phantom {seed}")
    else:
        write(volume, ct)
    written = [ct, out / "labels.nii.gz"]
    write(labels, written[-1])
    for layer in labels.overlaps:
        written.append(out / f"overlap_{layer}.nii.gz")
        write(layer_of(labels, layer), written[-1])
    return written


def _three(kind: type[int] | type[float]) -> Callable[[str], tuple[float | int, ...]]:
    """Return a parser of three numbers joined by commas."""

    def parse(text: str) -> tuple[float | int, ...]:
        parts = tuple(kind(part) for part in text.split(","))
        if len(parts) != 3:
            raise argparse.ArgumentTypeError(f"expected three numbers such as 128,128,160, got {text!r}")
        return parts

    parse.__name__ = f"three {kind.__name__}s"
    return parse
