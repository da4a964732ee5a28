"""One scan on its way through a model: known from before, opened, written."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.request import Request
from vesalius.cli.summary import SUMMARY_FILE
from vesalius.errors import UsageError

if TYPE_CHECKING:
    from vesalius.geometry.volume import Volume
    from vesalius.inference.result_files import ResultOptions, RunFacts
    from vesalius.inference.segmenter import Segmentation, Segmenter


@dataclass(frozen=True)
class Scan:
    """One scan, what is asked of it, and where its result goes.

    Args:
        path: A file, or a folder or zip of DICOM.
        out: The result folder.
        request: What is asked.
        series: Which DICOM series, where there are several: of the scan, or of ``source`` if the scan is not DICOM.
        source: The DICOM series whose headers a DICOM SEG takes, where the scan itself is not DICOM.
        command: Which command it is.
        more: Flag -> what is given to that command beside what ``segment`` takes; of files the content counts.
        results: The folder of all results, where there are several.
    """

    path: Path
    out: Path
    request: Request
    series: str | None = None
    source: Path | None = None
    command: str = "segment"
    more: Mapping[str, Path | str] = field(default_factory=dict)
    results: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the input."""
        return self._sha256_of(self.path)

    @cached_property
    def source_sha256(self) -> str | None:
        """Hash of the series whose headers are taken."""
        return self._sha256_of(self.source) if self.source else None

    @cached_property
    def more_sha256(self) -> dict[str, str]:
        """What is given beside, with files as their hashes."""
        return {
            flag.removeprefix("--"): self._sha256_of(value) if isinstance(value, Path) else value
            for flag, value in self.more.items()
        }

    def _sha256_of(self, path: Path) -> str:
        """Hash what is given, without the results that lie in it: they come later, and change nothing of it."""
        from vesalius.inference.result_folder import results_in
        from vesalius.io.digest import input_sha256

        own = [self.results, self.results / SUMMARY_FILE] if self.results else [self.out]
        return input_sha256(path, leave_out=[*own, *results_in(path)])

    def decided_by(self, weights: Mapping[str, str]) -> dict[str, Any]:
        """Return what decides the result beside the input."""
        asked = self.request.decided_by(series=self.series, source_sha256=self.source_sha256)
        return {**weights, **asked, **self.more_sha256}

    def is_done(self, weights: Mapping[str, str], *, overwrite: bool) -> bool:
        """Say whether the result is already there; to be asked while the folder is locked.

        Raises:
            UsageError: If something else is there.
        """
        from vesalius.inference.result_folder import check_free, is_done

        if overwrite:
            check_free(self.out, overwrite=True)
            return False
        return is_done(self.out, input_sha256=self.sha256, command=self.decided_by(weights))

    def words(self) -> list[str]:
        """Return the command that does this scan alone, every default written out."""
        words = ["vesalius", self.command, str(self.path.absolute()), "-o", str(self.out.absolute())]
        words += ["--series", self.series] if self.series else []
        words += ["--source", str(self.source.absolute())] if self.source else []
        for flag, value in self.more.items():
            words += [flag, str(value.absolute()) if isinstance(value, Path) else value]
        return words + self.request.words(automatic=self.command == "segment")


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenScan:
    """A scan that was read."""

    scan: Scan
    volume: Volume
    like: Volume | None
    created: str
    started: float
    seconds: float


def add_dicom_source(parser: argparse.ArgumentParser) -> None:
    """Add which DICOM series is read, and whose headers a result takes."""
    parser.add_argument(
        "--series",
        metavar="UID",
        help="which series, where several lie in a folder: the input's or, if that is not DICOM, --source's",
    )
    parser.add_argument("--source", type=Path, metavar="FOLDER",
                        help="the DICOM series of an input that is not DICOM, for --format dicom-seg")  # fmt: skip


def check_dicom_options(scan: Scan) -> None:
    """Refuse what was typed of DICOM and would count for nothing.

    Raises:
        UsageError: If a series is named, or gaps are to be filled, of a scan that is not DICOM and has no source.
        FileFormatError: If there is no such scan.
    """
    from vesalius.io.formats import format_of

    asked = {"--series": scan.series is not None and scan.source is None, "--fill-gaps": scan.request.fill_gaps}
    given = " and ".join(flag for flag, is_given in asked.items() if is_given)
    if given and format_of(scan.path) != "dicom":
        raise UsageError(
            expected=f"a folder, zip or file of DICOM for {given}",
            got=f"{scan.path.name}, which is not DICOM",
            do=f"leave {given} out, or give the DICOM series",
        )


def open_scan(scan: Scan) -> OpenScan:
    """Read a scan, and check before anything is computed that its result can be written as asked.

    Raises:
        InputError: If it is refused.
        UsageError: If a DICOM SEG is asked of an image without DICOM headers, or a series of one that has none.
    """
    from vesalius.inference.result_files import check_formats
    from vesalius.io.dicom_series import read_series
    from vesalius.io.formats import format_of, read

    created, started = datetime.now().astimezone().isoformat(timespec="seconds"), time.perf_counter()
    is_of_source = scan.source is not None and format_of(scan.path) != "dicom"
    of_scan, of_source = (None, scan.series) if is_of_source else (scan.series, None)
    volume = read(scan.path, series_uid=of_scan, fill_gaps=scan.request.fill_gaps)
    like = read_series(scan.source, series_uid=of_source) if scan.source else None
    check_formats(volume, options=result_options(scan.request), like=like)
    seconds = time.perf_counter() - started
    return OpenScan(scan=scan, volume=volume, like=like, created=created, started=started, seconds=seconds)


def write_scan(
    opened: OpenScan, result: Segmentation, segmenter: Segmenter, weights: Mapping[str, str], *, overwrite: bool
) -> None:
    """Write the result folder of a scan; to be done while it is locked.

    Raises:
        DiskError: If it cannot be written.
    """
    from vesalius.inference.result_files import write_result
    from vesalius.inference.result_folder import staged

    facts, options = facts_of(opened, segmenter, weights), result_options(opened.scan.request)
    with staged(opened.scan.out, overwrite=overwrite) as folder:
        write_result(folder, opened.volume, result, facts, options=options, like=opened.like)


def facts_of(opened: OpenScan, segmenter: Segmenter, weights: Mapping[str, str]) -> RunFacts:
    """Return what is known of a run beside its result."""
    from vesalius.inference.result_files import RunFacts, model_facts

    scan = opened.scan
    return RunFacts(
        input_name=scan.path.resolve().name,
        input_path=str(scan.path.absolute()),
        input_sha256=scan.sha256,
        decided_by=scan.decided_by(weights),
        command=tuple(scan.words()),
        model=model_facts(segmenter),
        created=opened.created,
        started=opened.started,
        seconds={"reading": opened.seconds},
    )


def result_options(request: Request) -> ResultOptions:
    """Return which label files a request asks for."""
    from vesalius.inference.result_files import ResultOptions

    return ResultOptions(formats=request.formats, split=request.split)
