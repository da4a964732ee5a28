"""Fine-tuning: from a model and a few labelled cases to a model of what these show, and to whether that helped.

In steps that are called one by one: ``begin`` changes the model's spec to what the list has (``tuning``; before it
``adaptation`` and ``new_classes``); ``schedule_of`` says how long to train, from a few steps (``schedule``; kept by
``plan_file``); ``train_folds`` trains with parts of the list held out, where there are enough cases, and
``train_all`` makes the model (``trainings``); ``benefits_of`` says whether it helped (``benefit``), and
``record_of`` writes that down (``report``). A backbone has steps of its own, fewer of them: ``slices``.

Names are loaded when first used: ``options`` is for command lines, which want no torch.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.training.finetune.benefit import Benefit, benefits_of
    from vesalius.training.finetune.options import FinetuneOptions
    from vesalius.training.finetune.plan_file import PLAN, keep_plan, kept_plan
    from vesalius.training.finetune.report import plan_lines, record_of, state_dice, write_record
    from vesalius.training.finetune.schedule import Schedule, schedule_of
    from vesalius.training.finetune.trainings import Resources, measure, train_all, train_folds
    from vesalius.training.finetune.tuning import Finetuning, begin

_HOMES = {
    "PLAN": "plan_file",
    "Benefit": "benefit",
    "FinetuneOptions": "options",
    "Finetuning": "tuning",
    "Resources": "trainings",
    "Schedule": "schedule",
    "begin": "tuning",
    "benefits_of": "benefit",
    "keep_plan": "plan_file",
    "kept_plan": "plan_file",
    "measure": "trainings",
    "plan_lines": "report",
    "record_of": "report",
    "schedule_of": "schedule",
    "state_dice": "report",
    "train_all": "trainings",
    "train_folds": "trainings",
    "write_record": "report",
}

__all__ = [
    "PLAN",
    "Benefit",
    "FinetuneOptions",
    "Finetuning",
    "Resources",
    "Schedule",
    "begin",
    "benefits_of",
    "keep_plan",
    "kept_plan",
    "measure",
    "plan_lines",
    "record_of",
    "schedule_of",
    "state_dice",
    "train_all",
    "train_folds",
    "write_record",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
