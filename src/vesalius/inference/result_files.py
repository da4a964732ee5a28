"""The files of one result: labels in the formats asked for, tables, picture, page, and the record of the run.

Everything but ``run.json`` is a function of the input and the command: no times, no paths, so that the same run
gives the same bytes (a DICOM SEG alone carries identifiers and dates of its own).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

import vesalius
from vesalius.allowance import peak_resident_bytes
from vesalius.errors import GeometryError, UsageError
from vesalius.geometry.resample import is_orthogonal
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.machine import environment
from vesalius.inference.result_folder import write_record
from vesalius.inference.segmenter import Segmentation, Segmenter
from vesalius.io.dicom_seg import RIGHT_ANGLE
from vesalius.io.dicom_source import DicomSource
from vesalius.io.formats import layer_of, repairs, write
from vesalius.io.highdicom_seg import check_headers
from vesalius.io.origin import Origin
from vesalius.labels.findings import Finding, Findings
from vesalius.views.preview import png_bytes, render_preview
from vesalius.views.report import render_report
from vesalius.views.stamp import stamped

OutputFormat = Literal["nifti", "dicom-seg", "seg.nrrd"]

_FORMAT_FILES: Mapping[OutputFormat, str] = {
    "nifti": "labels.nii.gz",
    "dicom-seg": "labels.seg.dcm",
    "seg.nrrd": "labels.seg.nrrd",
}
_COLUMNS = (
    "id", "name", "volume_ml", "voxels", "mean_hu", "confidence", "touches_border", "components", "snomed",
    "colour", "pieces_removed", "removed_ml",
)  # fmt: skip
_WRITERS = 2


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """Which label files a result has."""

    formats: tuple[OutputFormat, ...] = ("nifti",)
    """Formats of the label map."""
    split: bool = False
    """Also one NIfTI file per class, 1 inside and 0 outside, in ``classes/``."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run beside its result.

    Args:
        input_name: Name of the input, without its folder.
        input_path: Where it was.
        input_sha256: Hash of it.
        decided_by: What decides the result beside the input: model, weights, classes, options.
        command: The whole command, every default written out.
        model: Name, version, licence, hash and measured Dice of the model (``model_facts``).
        created: When the run began, ISO 8601 with its zone.
        started: ``time.perf_counter()`` at that moment.
        seconds: Seconds of the phases before the network, such as reading.
        more: What else the record says, by the names it has there.
        has_clicks: Whether a person corrected the result.
    """

    input_name: str
    input_path: str
    input_sha256: str
    decided_by: Mapping[str, Any]
    command: tuple[str, ...]
    model: Mapping[str, Any]
    created: str
    started: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    has_clicks: bool = False


def model_facts(segmenter: Segmenter) -> dict[str, Any]:
    """Say which model it is: name, version, licence, hash of the weights, origin, and its measured Dice."""
    spec, report = segmenter.spec, segmenter.report
    return {
        "name": spec.name,
        "version": spec.version,
        "licence": spec.licence,
        "sha256": report.sha256 if report else "",
        "provenance": spec.provenance,
        "citation": spec.citation,
        "dice": dict(spec.dice),
        "dice_source": spec.dice_source,
    }


def check_formats(volume: Volume, *, options: ResultOptions, like: Volume | None = None) -> None:
    """Refuse, before anything is computed, a result that could not be written.

    Args:
        volume: The input.
        options: Which label files are wanted.
        like: The DICOM series whose headers a DICOM SEG takes, where that is not the input itself.

    Raises:
        UsageError: If a DICOM SEG is wanted and there are no DICOM headers.
        GeometryError: If the headers belong to other voxels, or a DICOM SEG cannot hold the grid.
        DicomSeriesError: If a tag that a DICOM SEG copies is missing, or holds what the standard does not allow.
    """
    if "dicom-seg" not in options.formats:
        return
    source = (like or volume).source
    if not isinstance(source, DicomSource):
        raise UsageError(
            expected="a DICOM series, whose headers a DICOM SEG needs",
            got="an image that was not read from DICOM",
            do="give the series it was made from with --source FOLDER, or leave out --format dicom-seg",
        )
    if like is not None and not volume.grid.reoriented(like.grid.axis_codes).is_close(like.grid):
        raise GeometryError(
            expected="an input on the voxels of the DICOM series",
            got=f"{volume.grid.shape} voxels in one and {like.grid.shape} in the other, or at another place",
            do="name the series the input was made from, or give the DICOM folder as the input",
        )
    if not is_orthogonal((like or volume).grid, tolerance=RIGHT_ANGLE):
        raise GeometryError(
            expected="slices at right angles to their stack, as a DICOM SEG needs",
            got="a series with a tilted gantry",
            do="leave out --format dicom-seg: NIfTI and .seg.nrrd hold the tilt",
        )
    check_headers(source.datasets())


def write_result(
    folder: Path,
    volume: Volume,
    result: Segmentation,
    facts: RunFacts,
    *,
    options: ResultOptions | None = None,
    like: Volume | None = None,
) -> None:
    """Write every file of one result, ``run.json`` last.

    Args:
        folder: Where to; empty (``result_folder.staged``).
        volume: The input.
        result: What was found in it.
        facts: What is known of the run.
        options: Which label files.
        like: The DICOM series whose headers a DICOM SEG takes, where that is not the input itself.

    Raises:
        DiskError: If a file cannot be written.
        UsageError: If a DICOM SEG is wanted of an input that was not DICOM, and ``like`` gives none.
    """
    options = options or ResultOptions()
    start = time.perf_counter()
    findings = Findings(result.findings.classes, tuple(_warnings(volume, result)))
    result = dataclasses.replace(result, findings=findings)
    origin = Origin(
        model=facts.model["name"],
        version=facts.model["version"],
        is_unvalidated=bool(result.unvalidated),
        has_clicks=facts.has_clicks,
    )
    jobs = [
        *_label_jobs(folder, result, origin, options, like),
        lambda: _write_views(folder, volume, result, facts),
    ]
    with ThreadPoolExecutor(_WRITERS) as pool:  # deflating and drawing mostly happen outside the interpreter
        for job in [pool.submit(job) for job in jobs]:
            job.result()
    _write_text(folder / "labels.json", json.dumps(_labels_record(result, facts), indent=2, allow_nan=False) + "\n")
    _write_text(folder / "statistics.csv", statistics_csv(findings, unvalidated=bool(result.unvalidated)))
    seconds = {**facts.seconds, **result.seconds, "writing": time.perf_counter() - start}
    write_record(folder, _run_record(volume, result, facts, seconds))


def statistics_csv(findings: Findings, *, unvalidated: bool = False) -> str:
    """Return the table of ``labels.json`` as CSV, a row per structure that was looked for.

    Args:
        findings: What was found.
        unvalidated: Adds a column that says that the model was used outside what it was made for.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(["unvalidated"] if unvalidated else [])])
    for finding in findings.classes:
        writer.writerow([*_row(finding), *(["yes"] if unvalidated else [])])
    return text.getvalue()


def _row(finding: Finding) -> list[object]:
    facts = finding.as_dict()
    facts["touches_border"] = "yes" if finding.touches_border else "no"
    facts["colour"] = "#" + "".join(f"{int(part):02x}" for part in finding.colour)
    return ["" if facts[column] is None else facts[column] for column in _COLUMNS]


def _warnings(volume: Volume, result: Segmentation) -> Iterator[str]:
    """What a person should look at: where the model was used outside its field, mended input, odd findings."""
    yield from (f"unvalidated, outside what the model was made for: {reason}" for reason in result.unvalidated)
    yield from (f"about the input: {repair}" for repair in repairs(volume))
    yield from result.findings.warnings


def _label_jobs(
    folder: Path, result: Segmentation, origin: Origin, options: ResultOptions, like: Volume | None
) -> Iterator[Callable[[], None]]:
    """Yield one job per label file; the long ones first."""
    labels = result.labels
    for name in options.formats:
        if name == "dicom-seg" and not result.findings.found:
            continue  # DICOM has no segmentation without segments; the warnings say that nothing was found
        yield _job(labels, folder / _FORMAT_FILES[name], origin, like if name == "dicom-seg" else None)
    for layer, file in _layer_files(labels).items():
        yield _job(layer_of(labels, layer), folder / file, origin)
    if options.split:
        (folder / "classes").mkdir()
        labels = _in_file_order(labels)
        names = file_names({finding.class_id: finding.name for finding in result.findings.classes})
        for finding in result.findings.found:
            yield _split_job(labels, finding, folder / "classes" / f"{names[finding.class_id]}.nii.gz", origin)


def _job(labels: LabelMap, path: Path, origin: Origin, like: Volume | None = None) -> Callable[[], None]:
    return lambda: write(labels, path, like=like, origin=origin)


def _in_file_order(labels: LabelMap) -> LabelMap:
    """Lay the labels out as NIfTI stores them, once, instead of once for every class."""
    layers = {name: np.asfortranarray(layer) for name, layer in labels.overlaps.items()}
    return LabelMap(np.asfortranarray(labels.data), labels.grid, labels.names, layers, labels.source)


def _split_job(labels: LabelMap, finding: Finding, path: Path, origin: Origin) -> Callable[[], None]:
    def job() -> None:
        mask = labels.mask(finding.name).view("uint8")
        write(LabelMap(mask, labels.grid, {1: finding.name}, source=labels.source), path, origin=origin)

    return job


def file_name(name: str) -> str:
    """Return a class or layer name as a file name: ``left kidney`` -> ``left_kidney``."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name).strip(".") or "_"


def file_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return number -> name as a file name; where two meet, also where case does not count, with their numbers.

    ``T1 lesion`` (4) and ``T1/lesion`` (5) -> ``T1_lesion+4`` and ``T1_lesion+5``: ``file_name`` gives no plus.
    """
    plain = {number: file_name(name) for number, name in names.items()}
    count = Counter(name.casefold() for name in plain.values())
    return {number: f"{name}+{number}" if count[name.casefold()] > 1 else name for number, name in plain.items()}


def _layer_files(labels: LabelMap) -> dict[str, str]:
    """Return layer -> its file."""
    names = file_names(dict(enumerate(labels.overlaps, start=1)))
    return {layer: f"overlap_{names[n]}.nii.gz" for n, layer in enumerate(labels.overlaps, start=1)}


def _write_views(folder: Path, volume: Volume, result: Segmentation, facts: RunFacts) -> None:
    picture = render_preview(volume, result.labels, result.findings)
    if result.unvalidated:
        picture = stamped(picture, "UNVALIDATED: outside what the model was made for")
    png = png_bytes(picture)
    with (folder / "preview.png").open("wb") as file:
        file.write(png)
    run = {
        "input": facts.input_name,
        "version": vesalius.__version__,
        "model": facts.model,
        "unvalidated": result.unvalidated,
        "clicks": facts.more.get("clicks"),
    }
    _write_text(folder / "report.html", render_report(result.findings, png, run))


def _labels_record(result: Segmentation, facts: RunFacts) -> dict[str, Any]:
    named = ("name", "version", "sha256", "licence")
    return {
        "model": {key: facts.model[key] for key in named},
        "vesalius": vesalius.__version__,
        "unvalidated": list(result.unvalidated),
        **result.findings.as_dict(),
        "overlaps": _layer_files(result.labels),
    }


def _run_record(
    volume: Volume, result: Segmentation, facts: RunFacts, seconds: Mapping[str, float]
) -> dict[str, Any]:
    grid = volume.grid
    return {
        "version": vesalius.__version__,
        "created": facts.created,
        "command": list(facts.command),
        "decided_by": dict(facts.decided_by),
        "input": facts.input_name,
        "input_path": facts.input_path,
        "input_sha256": facts.input_sha256,
        "input_shape": list(grid.shape),
        "input_spacing_mm": [round(side, 6) for side in grid.spacing_mm],
        "input_series": _series_of(volume),
        "model": dict(facts.model),
        "unvalidated": list(result.unvalidated),
        "pieces_removed": {f.name: f.pieces_removed for f in result.findings.classes if f.pieces_removed},
        "plan": result.plan.as_dict() if result.plan else None,
        **facts.more,
        "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
        "duration_s": round(time.perf_counter() - facts.started, 3),
        "peak_bytes": peak_resident_bytes(),
        "environment": environment(),
    }


def _series_of(volume: Volume) -> dict[str, str] | None:
    """Say which DICOM series the input was read from, as `vesalius series` names it; None for other files."""
    source = volume.source
    if not isinstance(source, DicomSource):
        return None
    return {"uid": source.key or source.series_uid, "description": source.description}


def _write_text(path: Path, text: str) -> None:
    """Write UTF-8; bytes of another encoding, which names of files may hold, are written out by their numbers."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(text)
