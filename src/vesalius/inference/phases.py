"""Phases: what a run holds from one moment to the next, and the words that every plan has for it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from vesalius.precision import Precision

Phases = Mapping[str, Mapping[str, int]]
"""Phase -> part -> bytes."""


def peak_of(phases: Phases) -> int:
    """Return the bytes of the phase that needs most."""
    return max(sum(parts.values()) for parts in phases.values())


def forecast_as_dict(phases: Phases, seconds: float, *, card: Phases | None = None) -> dict[str, object]:
    """Return bytes and seconds as every plan prints them: the last rows of its ``as_dict``.

    Args:
        phases: Of the machine's memory.
        seconds: Of the whole run.
        card: Of a card's own memory; left out where nothing lies there.
    """
    return {
        "peak_bytes": peak_of(phases),
        "bytes": {phase: dict(parts) for phase, parts in phases.items()},
        **({"card_bytes": {phase: dict(parts) for phase, parts in card.items()}} if card else {}),
        "seconds": round(seconds, 1),
    }


def largest_phase(phases: Phases) -> str:
    """Say what the phase that needs most is made of."""
    phase = max(phases.values(), key=lambda parts: sum(parts.values()))
    return ", ".join(f"{part} {gigabytes(size)}" for part, size in phase.items())


def ways_out(precision: Precision, *more: str) -> str:
    """Say what makes a run fit that does not.

    Args:
        precision: Of the smallest plan; where that is bf16 already, it is not offered again.
        more: What else there is for this run.
    """
    smaller = ("use --precision bf16",) if precision == "fp32" else ()
    return ", ".join(("raise --max-memory", "close other programs", *smaller, *more, "or crop the scan"))


def gigabytes(size: int) -> str:
    """Write a size for a person."""
    return f"{size / 1e9:.1f} GB"
