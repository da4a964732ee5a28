"""The options that say how a list of cases is to be read, for every command that reads one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList
    from vesalius.evaluation.suites import Suite


def add_list_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, folds: bool = False) -> None:
    """Add the options.

    Args:
        parser: Of a command, or a group of its options.
        folds: With the choice of one fold of a list that has some.
    """
    parser.add_argument(
        "--root", type=Path, metavar="FOLDER", help="where the list's paths begin; default: its own folder"
    )
    parser.add_argument("--allow-outside", action="store_true", help="let paths and links leave that folder")
    parser.add_argument("--channel", type=int, metavar="N", help="which channel, where nnU-Net has several")
    parser.add_argument("--modality", choices=("CT", "MR"), help="where the list does not say")
    if folds:
        parser.add_argument(
            "--fold", type=int, metavar="K", help="of a list that states folds: keep this one for validation"
        )


def list_of(args: argparse.Namespace, path: Path, *, suite: Suite | None = None, strict: bool = True) -> DataList:
    """Read the list that was named, as the options say.

    Args:
        args: What was typed.
        path: The list.
        suite: Says what its label ids mean.
        strict: Refuse a list with missing files, or with a case or file that stands twice.

    Raises:
        InputError: If it is refused.
        UsageError: If a channel has to be named, or there is no such fold.
    """
    from vesalius.data.datalists.read import read_list

    listed = read_list(
        path,
        root=args.root,
        allow_outside=args.allow_outside,
        channel=args.channel,
        modality=args.modality,
        meanings=None if suite is None else suite.labels,
        strict=strict,
    )
    if suite is not None:
        listed = suite.applied_to(listed)
    fold = getattr(args, "fold", None)
    return listed if fold is None else listed.folded(fold)
