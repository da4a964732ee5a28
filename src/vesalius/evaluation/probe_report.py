"""The table of a probe, as lines for a terminal."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from vesalius.evaluation.probes import ProbeReport
from vesalius.evaluation.report import in_words
from vesalius.metrics.intervals import bootstrap_mean


def as_text(report: ProbeReport) -> str:
    """Return a row for each encoder and probe, and what the first encoder gives more than the others."""
    seed = report.options.seed
    rows = [("features", "probe", f"{report.measure} (95 %)", *report.classes)]
    for one in report.scores:
        columns = (bootstrap_mean(one.values[:, column], seed=seed) for column in range(len(report.classes)))
        means = [f"{column.estimate:.3f}" if column else "" for column in columns]
        rows.append((one.features, one.probe, in_words(one.mean(seed)), *means))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for first, other, gain in report.gains():
        lines.append(
            f"{first.probe}: {in_words(gain.interval, '+.3f')} over {other.features}; "
            f"better in {gain.better} cases, worse in {gain.worse}"
        )
    return "\n".join([*lines, f"intervals over {len(report.cases)} cases that nothing was learnt from"])
