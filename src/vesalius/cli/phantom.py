"""``vesalius phantom``: a synthetic torso with labels, as a DICOM series or as NIfTI."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesalius.geometry.volume import LabelMap, Volume

_SHAPE, _SPACING_MM = (160, 128, 184), (2.75, 2.75, 4.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius phantom``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder for ct and labels; new or empty")
    parser.add_argument(
        "--shape", type=_three(int), default=_SHAPE, metavar="I,J,K", help="voxels (default: 160,128,184)"
    )
    parser.add_argument(
        "--spacing", type=_three(float), metavar="a,b,c",
        help="voxel size in mm (default: 2.75,2.75,4 for the default shape, else what fits the region in the shape)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="which person (default: 0)")
    parser.add_argument("--format", choices=("dicom", "nifti"), default="nifti", help="of the CT (default: nifti)")
    parser.add_argument("--region", choices=("torso", "chest", "abdomen", "pelvis"), default="torso")
    parser.add_argument("--contrast", choices=("none", "arterial", "portal", "random"), default="portal")
    parser.add_argument("--tumours", action="store_true", help="let lesions grow; they get a layer of their own")
    parser.add_argument("--noise", type=float, default=12.0, metavar="HU", help="standard deviation (default: 12)")


def run(args: argparse.Namespace) -> int:
    """Build the phantom and write it: ``ct/`` or ``ct.nii.gz``, ``labels.nii.gz``, ``overlap_*.nii.gz``."""
    from vesalius.data.phantom import PhantomConfig, make_phantom

    spacing_mm = args.spacing
    if spacing_mm is None and args.shape == _SHAPE and args.region == "torso":
        spacing_mm = _SPACING_MM
    config = PhantomConfig(
        shape=args.shape,
        spacing_mm=spacing_mm,
        seed=args.seed,
        region=args.region,
        contrast=args.contrast,
        tumours=args.tumours,
        noise_hu=args.noise,
    )
    _prepare(args.out)
    volume, labels = make_phantom(config)
    for path in _write(args.out, volume, labels, as_dicom=args.format == "dicom", seed=args.seed):
        print(path)
    return 0


def _prepare(out: Path) -> None:
    """Make the folder, or refuse one that holds something before a minute is spent."""
    from vesalius.errors import DiskError, UsageError

    try:
        out.mkdir(parents=True, exist_ok=True)
        is_empty = next(out.iterdir(), None) is None
    except OSError as error:
        raise DiskError(
            expected=f"a folder {out}", got=error.strerror or str(error), do="name a folder that may be written to"
        ) from None
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


def _three(kind: type[int] | type[float]) -> object:
    """Return a parser of three numbers joined by commas."""

    def parse(text: str) -> tuple[float, ...]:
        parts = tuple(kind(part) for part in text.split(","))
        if len(parts) != 3:
            raise argparse.ArgumentTypeError(f"expected three numbers such as 128,128,160, got {text!r}")
        return parts

    parse.__name__ = f"three {kind.__name__}s"
    return parse
