"""Fine-tuning of a backbone: what it takes to teach it to label slices, and whether that finds more than was there.

Before it there are the labels of the nearest drawn case alone, as a backbone names nothing. Where it began with a
model that labels slices, there is that one, for the classes that it knows. There is one training, and no case
chooses its weights: validation cases judge it as test cases do.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.engine.forecast import Costs, length_s, totals
from vesalius.engine.run import CHECKPOINT, read_checkpoint
from vesalius.evaluation.matching import canonical
from vesalius.spec import MedDinoArchitecture, ModelSpec
from vesalius.training.course_data import spec_of
from vesalius.training.finetune.benefit import COPIED, JUDGING, Benefit, Rival, answers_after, benefits_after
from vesalius.training.finetune.report import begins_with
from vesalius.training.finetune.trainings import Resources
from vesalius.training.forecast import measured_slice_costs
from vesalius.training.slice_course import SliceBeginning, SliceCourse
from vesalius.training.slice_recipes import SliceRecipe


@dataclass(frozen=True, kw_only=True)
class SliceTuning:
    """A fine-tuning that can begin.

    Args:
        base: The spec of the model to begin with.
        course: All training cases.
    """

    base: ModelSpec
    course: SliceCourse

    @classmethod
    def of(cls, model: str | Path, recipe: SliceRecipe, listed: DataList) -> SliceTuning:
        """Put a decoder for a list's structures on a backbone; nothing is trained yet.

        Raises:
            UsageError: If a patient is in two splits of the list, or as ``SliceBeginning.of`` says.
            ModelError: If there is no such model, or its weights are refused.
        """
        beginning = SliceBeginning.of(model, recipe, listed.require_whole_patients())
        return cls(base=spec_of(model), course=SliceCourse(recipe=recipe, beginning=beginning, listed=listed))

    @property
    def against(self) -> dict[str, str]:
        """Class -> what was there before: the name of the model to begin with, or ``COPIED``."""
        labels = isinstance(self.base.architecture, MedDinoArchitecture)
        known = {canonical(name) for name in self.base.names.values()} if labels else set()
        names = self.course.beginning.spec.names.values()
        return {name: self.base.name if canonical(name) in known else COPIED for name in names}

    def judging(self, split: str) -> tuple[ListedCase, ...]:
        """Return the cases of a split that will say how good it is."""
        return tuple(case for case in self.course.listed.cases if case.split == split and case.is_labelled)


def measure_slices(tuning: SliceTuning, resources: Resources, *, processes: int = 1) -> Costs:
    """Prepare the cases and measure a few steps and the labelling of one case; nothing of it is kept.

    Args:
        tuning: What will be trained.
        resources: What to use.
        processes: That will share the samples of a step. What they tell one another is not measured.

    Raises:
        InterruptedRun: If it was asked to stop; nothing was begun.
        VesaliusError: Whatever preparing may raise.
    """
    cases = tuple(case for split in JUDGING for case in tuning.judging(split) if case.classes != ())
    return measured_slice_costs(
        tuning.course,
        resources.cache,
        judge=tuning.course.judge(cases[:1]) if cases else None,
        device=resources.device,
        workers=resources.workers,
        processes=processes,
    )


def slice_plan_lines(tuning: SliceTuning, costs: Costs) -> Iterator[str]:
    """Yield the plan, a line for each thing that a user may want otherwise."""
    recipe, listed = tuning.course.recipe, tuning.course.listed
    yield begins_with(tuning.base, listed)
    yield f"learns {', '.join(tuning.against)}, by a decoder that begins anew"
    yield (
        "the backbone stays as it is, beside adapters that learn" if recipe.adapters else "the whole network learns"
    )
    counts = {split: len(tuning.judging(split)) for split in JUDGING}
    judges = " and ".join(f"{count} {split}" for split, count in counts.items() if count)
    many = "s" if sum(counts.values()) > 1 else ""
    yield "one training; " + (
        f"{judges} case{many} will say how good it is" if judges else "nothing will say how good it is"
    )
    training_s = length_s(recipe.loop, costs)
    steps = recipe.loop.steps or f"about {training_s / costs.step_s:.0f}"
    yield f"{steps} steps, {costs.step_s:.2f} s a step as measured"
    measuring_s = answers_after(listed, set(tuning.against.values())) * costs.answer_s
    yield totals(training_s + measuring_s, measuring_s, peak_bytes=costs.peak_bytes, card_bytes=costs.card_bytes)


def slice_benefits(
    tuning: SliceTuning,
    model: str | Path,
    folder: Path,
    *,
    device: str,
    on_measuring: Callable[[str], None] = lambda _: None,
) -> list[Benefit]:
    """Return all that can be said of a model that was made, what is surest last.

    Args:
        tuning: What was trained.
        model: To begin with.
        folder: The run folder, which is a model now.
        device: Where the models run.
        on_measuring: Hears what is measured next.
    """
    if not any(tuning.judging(split) for split in JUDGING):
        return []
    rival = Rival(tuning.against, model, tuning.course.beginning.spec, device=device)
    return list(benefits_after(tuning.course.listed, rival, folder, device=device, on_measuring=on_measuring))


def slice_record(
    tuning: SliceTuning, costs: Costs | None, folder: Path, benefits: Sequence[Benefit]
) -> dict[str, Any]:
    """Return what was done and what came of it, as plain data.

    Args:
        tuning: What was trained.
        costs: As measured before; None where nothing was.
        folder: The run folder.
        benefits: What was measured afterwards.
    """
    listed = tuning.course.listed
    return {
        "model": tuning.course.beginning.source,
        "data": listed.name,
        "cases": [case.name for case in tuning.judging("training")],
        "classes": list(tuning.against),
        "costs": None if costs is None else asdict(costs),
        "steps": int(read_checkpoint(folder / CHECKPOINT)["step"]),
        "benefit": [benefit.as_dict() for benefit in benefits],
    }
