"""Fine-tuning of a backbone: what it takes is said before, and afterwards whether it beats what was there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.small_list import write_list
from training.small_slices import recipe, write_backbone
from vesalius.checkpoints.load import load_slice_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.engine.forecast import Costs
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.spec import Lora
from vesalius.training import forecast
from vesalius.training.finetune import Resources, state_dice, write_record
from vesalius.training.finetune.benefit import COPIED
from vesalius.training.finetune.slices import (
    SliceTuning,
    measure_slices,
    slice_benefits,
    slice_plan_lines,
    slice_record,
)
from vesalius.training.slice_course import carry_out_slices
from vesalius.training.slice_recipes import SliceRecipe

SHORT = recipe(loop=LoopSettings(steps=2, precision="fp32", windows=3))
COSTS = Costs(step_s=0.5, validation_s=2.0, peak_bytes=3 * 10**9, answer_s=2.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone, ``backbone``, a list, ``data/list.json``, and a model made of both, ``run``."""
    folder = tmp_path_factory.mktemp("slices")
    write_backbone(folder / "backbone")
    write_list(folder / "data", training=2, validation=2)
    carry_out_slices(tuning(folder).course, folder / "run", cache=Cache(folder / "cache"))
    return folder


def listed(place: Path, *, tests: int = 1) -> DataList:
    """Return two training cases, and two more of which so many are tests and the others for validation."""
    found = read_list(place / "data" / "list.json")
    held_out = found.split("validation")
    tested = tuple(replace(case, split="test") for case in held_out[2 - tests :])
    return replace(found, cases=(*found.split("training"), *held_out[: 2 - tests], *tested))


def tuning(
    place: Path, chosen: SliceRecipe = SHORT, *, model: str = "backbone", of_list: DataList | None = None
) -> SliceTuning:
    return SliceTuning.of(place / model, chosen, of_list or listed(place))


def test_steps_and_the_labelling_of_one_case_are_measured_and_nothing_is_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resources, begun = Resources(cache=Cache(place / "cache")), tuning(place)
    costs = measure_slices(begun, resources)
    assert costs.step_s > 0
    assert costs.answer_s == costs.validation_s > 0
    assert costs.peak_bytes > 50e6
    assert not list(tmp_path.iterdir())
    noted: list[tuple[int, tuple[str, ...]]] = []

    def note(task: object, learner: object, loop: LoopSettings, *, judge: object, **_: object) -> Costs:
        noted.append((loop.windows, tuple(case.name for case in judge.cases) if judge else ()))  # type: ignore[attr-defined]
        return COSTS

    monkeypatch.setattr(forecast, "costs_of", note)
    measure_slices(begun, resources, processes=2)
    training = listed(place)
    unjudged = replace(training, cases=training.split("training"))
    measure_slices(tuning(place, of_list=unjudged), resources)
    assert noted == [(2, ("image-2",)), (3, ())]


def test_the_plan_says_what_learns_what_judges_it_and_what_it_takes(place: Path) -> None:
    said = list(slice_plan_lines(tuning(place), COSTS))
    assert said == [
        "tiny backbone 1, 2 labelled cases, of list",
        "learns liver, by a decoder that begins anew",
        "the whole network learns",
        "one training; 1 validation and 1 test cases will say how good it is",
        "2 steps, 0.50 s a step as measured",
        "about 9 s in all, 8 s of them to measure whether it helped; 3.0 GB at the peak",
    ]
    timed = recipe(loop=LoopSettings(minutes=30.0, precision="fp32"), adapters=(Lora(rank=2),))
    alone = replace(listed(place), cases=listed(place).split("training")[:1])
    said = list(slice_plan_lines(tuning(place, timed, of_list=alone), COSTS))
    assert said[0].endswith("1 labelled case, of list")
    assert said[2:] == [
        "the backbone stays as it is, beside adapters that learn",
        "one training; nothing will say how good it is",
        "about 3600 steps, 0.50 s a step as measured",
        "about 30 min in all; 3.0 GB at the peak",
    ]


def test_the_model_is_measured_beside_copied_labels_and_states_what_the_surest_cases_gave(place: Path) -> None:
    begun, heard = tuning(place), list[str]()
    benefits = slice_benefits(begun, place / "backbone", place / "run", device="cpu", on_measuring=heard.append)
    assert heard == ["measuring 1 validation case", "measuring 1 test case"]
    assert [(one.on, one.chose_the_weights) for one in benefits] == [
        ("validation cases", False),
        ("test cases", False),
    ]
    assert all(dict(one.against) == {"liver": COPIED} for one in benefits)
    assert 0.4 < benefits[0].before["image-2"]["liver"] < 1, "of the neighbour, a voxel aside"
    assert benefits[1].words().startswith("so few cases decide nothing: Dice 0.")
    write_record(place / "run", slice_record(begun, COSTS, place / "run", benefits))
    state_dice(place / "run", benefits)
    record = json.loads((place / "run" / "finetune.json").read_text())
    assert (record["cases"], record["steps"]) == (["image-0", "image-1"], 2)
    assert record["costs"]["step_s"] == 0.5
    assert [set(one["cases"]) for one in record["benefit"]] == [{"image-2"}, {"image-3"}]
    spec = load_slice_model(place / "run").spec
    assert spec.dice == {"liver": round(record["benefit"][1]["dice"]["liver"]["estimate"], 4)}
    assert spec.dice_source.startswith("1 case, test cases")
    unjudged = replace(listed(place), cases=listed(place).split("training"))
    assert slice_benefits(tuning(place, of_list=unjudged), "backbone", place / "run", device="cpu") == []


def test_a_model_that_labels_slices_is_the_rival_for_the_classes_that_it_knows(place: Path) -> None:
    both = replace(listed(place, tests=2), meanings={1: "Liver", 2: "vein"})
    begun = tuning(place, model="run", of_list=both)
    assert begun.against == {"Liver": "run", "vein": COPIED}
    (found,) = slice_benefits(begun, place / "run", place / "run", device="cpu")
    assert found.tuned["image-3"]["Liver"] == found.before["image-3"]["Liver"], "it is compared with itself"
    assert found.before["image-3"]["vein"] == 1, "copied where there is none"
    assert tuning(place, of_list=both).against == {"Liver": COPIED, "vein": COPIED}


def test_a_patient_who_would_be_learnt_from_and_judge_is_refused(place: Path) -> None:
    found = listed(place)
    torn = replace(found, cases=tuple(replace(case, patient="p") for case in found.cases))
    with pytest.raises(UsageError, match="patient"):
        tuning(place, of_list=torn)
