"""What is asked of a model on a command line: the arguments that its commands share, as one record."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.cli.words import choices_of, names, number_of_threads, size_in_bytes
from vesalius.errors import UsageError
from vesalius.geometry.planes import PLANES

if TYPE_CHECKING:
    from vesalius.geometry.planes import Plane
    from vesalius.inference.pipelines import Compat
    from vesalius.inference.result_files import OutputFormat
    from vesalius.inference.segmenter import Segmenter, SegmentOptions
    from vesalius.precision import Precision

    AskedPrecision = Precision | Literal["auto"]

FORMATS: tuple[OutputFormat, ...] = ("nifti", "dicom-seg", "seg.nrrd")
PRECISIONS: tuple[AskedPrecision, ...] = ("auto", "fp32", "bf16")
COMPAT: tuple[Compat, ...] = ("paper", "bundle-0.5.4", "bundle")
OF_MODEL = ("model", "device", "precision", "max_memory", "threads", "unvalidated")
"""What commands that write no result of a scan ask of a model."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model, beside the scans."""

    model: str = DEFAULT_MODEL
    classes: tuple[str, ...] = ()
    formats: tuple[OutputFormat, ...] = ("nifti",)
    split: bool = False
    device: str = "auto"
    precision: AskedPrecision = "auto"
    overlap: float | None = None
    max_memory: int | None = None
    threads: int | None = None
    seed: int = 0
    compat: Compat | None = None
    mirror: bool = False
    planes: tuple[Plane, ...] = ()
    unvalidated: bool = False
    fill_gaps: bool = False

    def decided_by(self, *, series: str | None, source_sha256: str | None) -> dict[str, Any]:
        """Return what decides a result, beside input and weights: not threads; memory may (``make_plan``)."""
        return {
            "classes": list(self.classes),
            "format": list(self.formats),
            "split": self.split,
            "device": self.device,
            "precision": self.precision,
            "overlap": self.overlap,
            "max_memory": self.max_memory,
            "compat": self.compat,
            **({"mirror": True} if self.mirror else {}),
            **({"planes": list(self.planes)} if self.planes else {}),
            "unvalidated": self.unvalidated,
            "fill_gaps": self.fill_gaps,
            "seed": self.seed,
            "series": series,
            "source_sha256": source_sha256,
        }

    def words(self, *, automatic: bool = True) -> list[str]:
        """Return the options as they could be typed, every default written out.

        Args:
            automatic: With those of commands that segment whole scans (``add_arguments``).
        """
        words = ["--model", self.model, "--format", ",".join(self.formats)]
        words += ["--classes", ",".join(self.classes) or "everything"] if automatic else []
        words += ["--device", self.device, "--precision", self.precision, "--seed", str(self.seed)]
        words += ["--split"] if self.split else []
        words += ["--mirror"] if self.mirror else []
        words += ["--planes", ",".join(self.planes)] if self.planes else []
        words += ["--unvalidated"] if self.unvalidated else []
        words += ["--fill-gaps"] if self.fill_gaps else []
        for flag, value in (
            ("--overlap", self.overlap),
            ("--compat", self.compat),
            ("--max-memory", self.max_memory),
            ("--threads", self.threads),
        ):
            words += [] if value is None else [flag, str(value)]
        return words

    def load(self) -> Segmenter:
        """Load the model, on the device and in the precision asked for, and check the names of the classes.

        Raises:
            ModelError: If the weights are refused.
            UnknownClassError: If the model does not know a class.
        """
        import torch

        from vesalius.inference.segmenter import load

        torch.set_num_threads(threads_of(self.threads))
        torch.manual_seed(self.seed)
        published = self.compat is not None and self.precision == "auto"  # exactly: in the precision of its numbers
        precision: AskedPrecision = "fp32" if published else self.precision
        segmenter = load(self.model, precision=precision, device=self.device)
        segmenter.vocabulary.resolve(self.classes)
        return segmenter

    def options(self) -> SegmentOptions:
        """Return how to segment."""
        from vesalius.inference.segmenter import SegmentOptions

        return SegmentOptions(
            overlap=self.overlap,
            max_memory=self.max_memory,
            compat=self.compat,
            mirror=self.mirror,
            planes=self.planes,
            unvalidated=self.unvalidated,
        )


def add_arguments(parser: argparse.ArgumentParser, *, automatic: bool = True) -> None:
    """Add the arguments of a request.

    Args:
        parser: Of a command.
        automatic: With those that only make sense for commands that segment whole scans (which classes, overlap,
            published pipelines), and with their words.
    """
    defaults = Request()
    what = parser.add_argument_group("what")
    what.add_argument(
        "--model",
        default=defaults.model,
        metavar="NAME|PATH",
        help="a name (see `vesalius models list`), a model folder or a weights file; default: %(default)s",
    )
    if automatic:
        what.add_argument(
            "--classes",
            type=names,
            default=(),
            metavar="A,B",
            help="names, synonyms, ids or groups (kidneys, lungs), of those that `vesalius models info MODEL` "
            "lists; default: everything",
        )
    what.add_argument(
        "--format",
        dest="formats",
        type=choices_of(FORMATS),
        default=defaults.formats,
        metavar="A,B",
        help=f"of the labels: {', '.join(FORMATS)}; default: nifti",
    )
    what.add_argument("--split", action="store_true", help="also one file per class, in OUT/classes")
    how = parser.add_argument_group("how")
    if automatic:
        add_computing(how, precision=", and fp32 with --compat")
        how.add_argument(
            "--overlap", type=float, metavar="F", help="part of a window shared with the next, in [0, 1)"
        )
    else:
        spare = "; what the network said is remembered in what is left of it, and computed again past that"
        add_computing(how, memory=spare)
    how.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="results do not depend on chance")
    if automatic:
        how.add_argument("--compat", choices=COMPAT, help="run one of VISTA3D's published pipelines exactly")
        how.add_argument(
            "--mirror", action="store_true", help="average each slice and its reflections; slice models"
        )
        how.add_argument("--planes", type=choices_of(PLANES), default=(), metavar="A,B",
                         help=f"cut along {', '.join(PLANES)}, or average several; slice models")  # fmt: skip
    how.add_argument(
        "--unvalidated", action="store_true", help="go on outside what the model was made for; the result is marked"
    )
    how.add_argument(
        "--fill-gaps", action="store_true", help="interpolate missing DICOM slices, up to gaps of four steps"
    )
    how.add_argument("--overwrite", action="store_true", help="replace a complete result in OUT")
    plan = "print the plan (windows, bytes, seconds) and stop"
    forecast = "check the clicks, print what they need (windows, bytes, seconds: a forecast) and stop"
    how.add_argument("--dry-run", action="store_true", help=plan if automatic else forecast)
    how.add_argument("--json", action="store_true",
                     help="one JSON object on stdout, progress on stderr")  # fmt: skip


def add_computing(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, precision: str = "", memory: str = ""
) -> None:
    """Add what a model is computed with; what is not typed is None, which ``request_of`` takes for the default.

    Args:
        parser: Of a command, or a group of its options.
        precision: More to say of the default of ``--precision``.
        memory: More to say of ``--max-memory``.
    """
    usual = Request()
    parser.add_argument("--device", metavar="D", help=f"auto, cpu, cuda or mps; default: {usual.device}")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help=f"default: {usual.precision}, which is bf16 where the processor has it{precision}",
    )
    parser.add_argument(
        "--max-memory", type=size_in_bytes, metavar="8GB", help=f"resident memory not to exceed{memory}"
    )
    parser.add_argument("--threads", type=number_of_threads, metavar="N", help="default: as torch chooses")


def request_of(args: argparse.Namespace, fields: Collection[str] = tuple(Request.__dataclass_fields__)) -> Request:
    """Return what was typed as a request; what was not, or is not offered, keeps its default.

    Args:
        args: What was typed.
        fields: Those of a request that the command has; its other arguments may have such names by chance.
    """
    typed = {name: getattr(args, name, None) for name in fields}
    return Request(**{name: value for name, value in typed.items() if value is not None})


def threads_of(asked: int | None) -> int:
    """Return how many threads to compute with: as asked, or as torch chooses, on the cores that we may use.

    Torch counts the cores of the machine, whatever share of their time a container or a cluster's job is given.
    """
    import torch

    from vesalius.allowance import usable_cores

    return asked or min(torch.get_num_threads(), usable_cores())


def add_sharding(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--shard`` of a command that ``torchrun`` may start in several processes."""
    about = "of several processes (torchrun), each keeps a part of the optimiser's state; the result is the same"
    parser.add_argument("--shard", action="store_true", help=about)


def add_training_precision(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--precision`` of a command that trains."""
    about = "of products and convolutions; default: auto, which is bf16 where the device has it"
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help=about)


def training_precision(args: argparse.Namespace) -> Precision:
    """Return the precision that was typed, or the best of the device that was."""
    from vesalius.inference.device import device_to_train_on
    from vesalius.precision import best_precision

    typed: AskedPrecision = args.precision
    return best_precision(device_to_train_on(args.device)) if typed == "auto" else typed


def require_room(args: argparse.Namespace) -> None:
    """Refuse a run folder that another run stands in, and to plan a training that was begun.

    Raises:
        UsageError: If so.
    """
    from vesalius.training.course import refuse_existing

    if args.dry_run and args.resume:
        raise UsageError(
            expected="--dry-run of a training that begins, or --resume",
            got="both",
            do="leave one out; what is left of a run that was stopped is in the last line of its log",
        )
    refuse_existing(args.folder, resume=args.resume)
