"""What tests of fine-tuning begin with: five labelled scans, one for validation, and a tiny model beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.training.finetune import FinetuneOptions, Finetuning, Schedule, begin

SHORT = Schedule(steps=2, validate_every=1, step_s=0.1, seconds=1.0, peak_bytes=1)


def listed(place: Path, training: int = 5, *, validation: bool = False, name: str = "liver") -> DataList:
    found = read_list(place / "data" / "list.json")
    cases = found.split("training")[:training] + (found.split("validation") if validation else ())
    return replace(found, cases=cases, meanings={1: name})


def begun(place: Path, options: FinetuneOptions | None = None, **of_list: object) -> Finetuning:
    return begin(place / "tiny", listed(place, **of_list), options or FinetuneOptions())  # type: ignore[arg-type]
