"""``vesalius models``: which models there are, fetching, converting and checking their weights."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vesalius.checkpoints.catalog import CATALOG, CatalogRow, find_row
from vesalius.checkpoints.content import recognise
from vesalius.checkpoints.header import read_header
from vesalius.checkpoints.store import find_weights, model_folder, stated_spec
from vesalius.errors import ModelError
from vesalius.io.written_paths import at_home
from vesalius.labels.vocabulary import Vocabulary

_PRECISIONS = ("fp32", "fp16", "bf16")
_LAYOUTS = ("vesalius", "monai", "research")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|info|pull|convert|verify")
    listing = actions.add_parser("list", help="the models that have a name, and which of them are here")
    info = actions.add_parser("info", help="what a model expects, names and may be used for")
    info.add_argument("model", help="a name, a model folder or a .safetensors file")
    fetch = actions.add_parser("pull", help="download a model once; shows its licence first")
    fetch.add_argument("model", help="a name of `models list`, or owner/name on the hub")
    fetch.add_argument(
        "--again", action="store_true", help="download although it is here; the hash must be the same"
    )
    convert = actions.add_parser("convert", help="foreign weights -> model.safetensors and spec.json")
    convert.add_argument("model", help="a .pt, .pth or .safetensors file, a folder or a name")
    convert.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER")
    convert.add_argument("--precision", choices=_PRECISIONS, help="how to store the weights; default: as they are")
    convert.add_argument(
        "--layout", choices=_LAYOUTS, default="vesalius", help="tensor names; default: %(default)s"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    verify = actions.add_parser("verify", help="hash, size, keys, values and answers of weights; one verdict")
    verify.add_argument("model", help="a file, a folder or a name")
    for action in (listing, info, fetch, convert, verify):
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Carry out one action; return the exit code."""
    actions = {"list": _list, "info": _info, "pull": _pull, "convert": _convert, "verify": _verify}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    rows = [_row(row) for row in CATALOG]
    lines = [f"{'name':<16} {'here':<5} {'size':>8}  {'licence':<29} what"]
    for row in rows:
        size = f"{row['size_bytes'] / 1e6:,.0f} MB" if row["size_bytes"] else "?"
        here = "yes" if row["path"] else "no"
        lines.append(f"{row['name']:<16} {here:<5} {size:>8}  {row['licence']:<29} {row['summary']}")
    _say(args, {"models": rows}, lines)
    return 0


def _info(args: argparse.Namespace) -> int:
    path = at_home(args.model)
    if path.exists():
        answer = _file_info(path / "model.safetensors" if path.is_dir() else path)
    else:
        row = find_row(args.model)
        weights = find_weights(row)
        answer = {**_row(row), **(_file_info(weights) if weights else {})}
        if answer.get("spec") is None:
            answer["spec"] = dataclasses.asdict(row.spec) if row.spec else None
    lines = [f"{key}: {value}" for key, value in answer.items() if key != "spec" and value not in (None, "", {})]
    lines += _spec_lines(answer["spec"]) if answer.get("spec") else ["spec: none with the weights"]
    _say(args, answer, lines)
    return 0


def _pull(args: argparse.Namespace) -> int:
    from vesalius.checkpoints.pull import pull

    row = find_row(args.model)
    print(f"{row.name}: licence {row.licence}. {row.licence_note}".rstrip(), file=sys.stderr)
    last = -1

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        tenth = done * 10 // total if total else done // 10**8
        if tenth != last:
            last = tenth
            print(
                f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB", file=sys.stderr
            )

    came = pull(row, again=args.again, progress=progress)
    answer = {**dataclasses.asdict(came), "path": str(came.path), "licence": row.licence, "page": row.page}
    lines = [
        f"{'downloaded to' if came.downloaded else 'already at'} {came.path}",
        f"{came.size_bytes:,} bytes, SHA-256 {came.sha256}",
        {
            "published": "as the publisher states",
            "first pull": "as on the first pull",
            "package": "part of the package: nothing was downloaded, and there is nothing to compare it with",
            "nothing": "recorded: the publisher states no SHA-256, so every later pull must equal this one",
        }[came.pinned_by],
        *([came.note] if came.note else []),
    ]
    _say(args, answer, lines)
    return 0


def _convert(args: argparse.Namespace) -> int:
    import torch

    from vesalius.checkpoints.convert import convert_model

    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}
    report = convert_model(
        args.model, args.output, layout=args.layout, dtype=types[args.precision], overwrite=args.overwrite
    )
    answer = {**dataclasses.asdict(report), "path": str(report.path), "output": str(args.output)}
    lines = [f"read {report.path}", report.summary()]
    lines += [f"  dropped: {name}" for name in report.dropped] + [f"  missing: {name}" for name in report.missing]
    lines += [f"  left out: {name}" for name in report.beside] + [f"wrote {args.output}"]
    _say(args, answer, lines)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from vesalius.checkpoints.verify import VERDICTS, verify

    found = verify(args.model)
    lines = [f"{found.path}: {found.size_bytes:,} bytes, SHA-256 {found.sha256}, MD5 {found.md5}"]
    lines += [f"  {check.name:<8} {check.outcome:<8} {check.detail}" for check in found.checks]
    lines.append(f"{found.verdict}: {VERDICTS[found.verdict]}")
    _say(args, found.as_dict(), lines)
    return ModelError.exit_code if found.verdict == "failed" else 0


def _row(row: CatalogRow) -> dict[str, Any]:
    weights = find_weights(row)
    return {
        "name": row.name,
        "summary": row.summary,
        "licence": row.licence,
        "licence_note": row.licence_note,
        "page": row.page,
        "revision": row.revision if row.repo else "",
        "file": row.file if row.repo else "",
        "size_bytes": row.size_bytes or (weights.stat().st_size if weights else None),
        "sha256": row.sha256,
        "folder": str(model_folder(row)),
        "path": str(weights) if weights else "",
    }


def _file_info(path: Path) -> dict[str, Any]:
    """Describe a file by its header alone: no torch, no tensor is read."""
    content = recognise(path)
    answer: dict[str, Any] = {
        "path": str(path),
        "content": content,
        "size_bytes": path.stat().st_size,
        "spec": None,
    }
    header = read_header(path) if content == "safetensors" else None
    if header is not None:
        types: dict[str, int] = {}
        for entry in header.tensors.values():
            types[entry.dtype] = types.get(entry.dtype, 0) + 1
        answer["tensors"] = types
    spec = stated_spec(path, header)
    return answer | {"spec": dataclasses.asdict(spec) if spec else None}


def _spec_lines(spec: dict[str, Any]) -> list[str]:
    axes = 3 if spec["spacing_mm"][2] else 2  # a network of slices leaves them where they are
    spacing = " x ".join(f"{side:g}" for side in spec["spacing_mm"][:axes])
    window = " x ".join(str(side) for side in spec["window_size"][:axes])
    mean, deviation = spec["mean_std_hu"]
    seen = {
        "window": "as 0 to 1",
        "percentiles": "as 0 to 1",
        "fixed": f"less {mean:g}, by {deviation:g}",
        "slice": "less the mean of each slice, by its deviation",
    }[spec["normalisation"]]
    of_image = spec["normalisation"] == "percentiles"
    low, high = spec["window_percentiles" if of_image else "window_hu"]
    values = f"percentiles {low:g} to {high:g} of the image" if of_image else f"HU {low:.0f} to {high:.0f}"
    lines = [
        f"{spec['name']} {spec['version']}: {spec['modality']}, {', '.join(spec['regions']) or 'region unknown'}",
        f"sees {spacing} mm, {spec['orientation']}, {values} "
        f"{seen}, {'windows' if axes == 3 else 'slices'} of {window} voxels",
        *_class_lines(spec),
        f"provenance: {spec['provenance'] or 'not stated'}",
    ]
    lines += [f"Dice ({spec['dice_source']}):"] if spec["dice"] else ["Dice: not measured here"]
    lines += [f"  {name:<32} {value:.3f}" for name, value in spec["dice"].items()]
    return lines


def _class_lines(spec: dict[str, Any]) -> list[str]:
    """List what a model names: what it looks for by itself, then the rest."""
    names = dict(spec["vocabulary"])
    if not names:
        return ["names no classes"]
    everything = Vocabulary.of(spec["vocabulary"], everything=spec["everything"]).everything
    rest = [name for label, name in names.items() if label not in everything]
    lines = [f"names {len(names)} classes; by itself it looks for {len(names) - len(rest)}:"]
    lines += _wrapped(name for label, name in names.items() if label in everything)
    return [*lines, f"and, where asked for, {len(rest)}:", *_wrapped(rest)] if rest else lines


def _wrapped(names: Iterable[str]) -> list[str]:
    return textwrap.wrap(", ".join(names), 100, initial_indent="  ", subsequent_indent="  ")


def _say(args: argparse.Namespace, answer: dict[str, Any], lines: list[str]) -> None:
    print(json.dumps(answer, indent=2) if args.json else "\n".join(lines))
