"""A course: from a store to a backbone in one file; the same whether or not it was killed; where it may begin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.line_task import same, without_times
from pretraining.small_store import HEAD, TINY, pupil, recipe, write_store
from vesalius.checkpoints.load import load_encoder
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.slices import MANIFEST, SliceStore, sha256_of
from vesalius.engine.run import RunFolder
from vesalius.errors import CheckpointError, FileFormatError, UsageError
from vesalius.geometry.planes import ORIENTATION
from vesalius.pretraining.course import CHECKED, Beginning, PretrainingCourse, carry_out
from vesalius.pretraining.recipes import PretrainingRecipe, spec_of
from vesalius.pretraining.settings import Gram, HeadSettings, Resolution
from vesalius.pretraining.task import PretrainingTask
from vesalius.pretraining.views import Views


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    return write_store(tmp_path_factory.mktemp("store"))


def course(store: SliceStore, chosen: PretrainingRecipe | None = None, **changes: object) -> PretrainingCourse:
    chosen = chosen or recipe()
    beginning = Beginning.at_random(chosen, store)
    return PretrainingCourse(**{"recipe": chosen, "beginning": beginning, "store": store, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(store: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a pretraining that nobody stopped."""
    folder = tmp_path_factory.mktemp("run") / "backbone"
    carry_out(course(store), folder)
    return folder


def teacher_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return the teacher's backbone in a run's checkpoint."""
    average = (RunFolder(folder).checkpoint() or {})["average"]
    return {
        name.removeprefix("backbone."): tensor for name, tensor in average.items() if name.startswith("backbone.")
    }


def test_the_run_folder_is_a_backbone_the_teachers_that_claims_nothing(finished: Path) -> None:
    loaded, teacher = load_encoder(finished), teacher_of(finished)
    assert same(dict(loaded.network.state_dict()), teacher)
    assert loaded.spec.architecture == TINY
    assert loaded.spec.spacing_mm == (1.5, 1.5, 0.0)
    assert (loaded.spec.licence, loaded.spec.dice) == ("", {})
    assert "4 steps on 12 slices of 3 scans, from at random" in loaded.spec.provenance
    assert (
        sum(path.stat().st_size for path in finished.glob("*.safetensors"))
        < 1.2 * 4 * sum(tensor.numel() for tensor in teacher.values()) + 1e4
    )


def test_losses_monitors_and_pictures_are_kept(finished: Path) -> None:
    records = RunFolder(finished).metrics()
    steps = [record for record in records if "event" not in record]
    assert {"dino", "ibot", "koleo", "rank of a batch", "teacher entropy"} <= steps[0].keys()
    judged = [record for record in records if record.get("event") == "validated"]
    assert [record["step"] for record in judged] == [0, 2, 4]
    assert {"found again", "rank of slices", "rank of patches"} <= judged[0].keys()
    assert len(list((finished / "pictures").iterdir())) == 3


KILLED = """
# A pretraining killed in the middle of a step, after a checkpoint; then the same command again.
import os, signal, sys
from pathlib import Path
folder, store, tests = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
sys.path.insert(0, tests)
from pretraining.small_store import recipe
from pretraining.test_course import course, SAVING
from vesalius.data.slices import MANIFEST, SliceStore
from vesalius.pretraining.course import carry_out
from vesalius.pretraining.task import PretrainingTask

draw, drawn = PretrainingTask.draw, []
def mortal(self, rng):
    drawn.append(1)
    if len(drawn) == 4 and "die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(self, rng)
PretrainingTask.draw = mortal
carry_out(course(SliceStore(store), SAVING), folder)
print(len(drawn))
"""

SAVING = recipe(loop=replace(recipe().loop, save_every_s=0.0))


def ends_alike(first: Path, second: Path) -> bool:
    """Whether two runs ended with the same bits, and logged the same on the way."""
    states = [RunFolder(folder).checkpoint() or {} for folder in (first, second)]
    untimed = [{name: part for name, part in state.items() if name != "trained_s"} for state in states]
    logs = [without_times(RunFolder(folder)) for folder in (first, second)]
    return len(untimed[0]) > 4 and same(untimed[0], untimed[1]) and logs[0] == logs[1]


class CrashError(Exception):
    """Stands for whatever ends a process."""


def test_a_pretraining_that_crashed_goes_on_and_ends_bit_for_bit_alike(
    store: SliceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = PretrainingTask.draw, []

    def mortal(task: PretrainingTask, rng: np.random.Generator) -> Views:
        drawn.append(1)
        if len(drawn) == 4:
            raise CrashError
        return draw(task, rng)

    monkeypatch.setattr(PretrainingTask, "draw", mortal)
    with pytest.raises(CrashError):
        carry_out(course(store, SAVING), tmp_path / "crashed")
    left = load_encoder(tmp_path / "crashed")
    assert same(dict(left.network.state_dict()), teacher_of(tmp_path / "crashed")), "a backbone on the way"
    assert (left.spec.name, left.spec.provenance[:40]) == ("crashed", "pretrained with Vesalius for 3 steps on ")
    carry_out(course(store, SAVING), tmp_path / "crashed")
    assert len(drawn) == 5, "steps that a checkpoint holds are not done again"
    carry_out(course(store, SAVING), tmp_path / "whole")
    assert ends_alike(tmp_path / "crashed", tmp_path / "whole")
    carry_out(course(store, replace(SAVING, loop=replace(SAVING.loop, seed=1))), tmp_path / "other")
    assert not ends_alike(tmp_path / "other", tmp_path / "whole")


def test_the_backbone_of_a_step_is_kept_to_hold_the_patches_of_a_later_stage(
    store: SliceStore, tmp_path: Path
) -> None:
    carry_out(course(store), tmp_path / "one", keep_every=3)
    assert [path.name for path in tmp_path.glob("one/at-*")] == ["at-3"]
    kept = load_encoder(tmp_path / "one" / "at-3")
    assert kept.spec.name == "one-at-3"
    carry_out(course(store, recipe(loop=replace(recipe().loop, ends_at=3))), tmp_path / "three")
    assert same(dict(kept.network.state_dict()), teacher_of(tmp_path / "three"))
    anchored = recipe(gram=Gram(), loop=replace(recipe().loop, steps=1, validate_every=None))
    carry_out(course(store, anchored, gram=tmp_path / "one" / "at-3"), tmp_path / "two")
    with pytest.raises(UsageError, match="every 0 steps"):
        carry_out(course(store), tmp_path / "none", keep_every=0)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_killed_pretraining_ends_bit_for_bit_as_one_that_was_not(store: SliceStore, tmp_path: Path) -> None:
    tests = str(Path(__file__).resolve().parents[1])

    def life(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(folder), str(store.folder), tests, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    killed = life(tmp_path / "killed", "die")
    assert killed.returncode == -9, killed.stderr
    left = RunFolder(tmp_path / "killed").checkpoint()
    assert left is not None
    assert left["step"] == 3
    assert same(dict(load_encoder(tmp_path / "killed").network.state_dict()), teacher_of(tmp_path / "killed"))
    resumed = life(tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.split() == ["1"], "steps that a checkpoint holds are not done again"
    carry_out(course(store, SAVING), tmp_path / "whole")
    assert ends_alike(tmp_path / "killed", tmp_path / "whole")


def test_a_pretraining_begins_with_a_backbone_and_fresh_heads(store: SliceStore, tmp_path: Path) -> None:
    given = pupil(7)
    spec = replace(spec_of(recipe(), "given"), licence="of its own", normalisation="slice")
    write_model(tmp_path / "given", given.backbone.state_dict(), spec)
    beginning = Beginning.of(tmp_path / "given", recipe(), store)
    begun = beginning.pupil(recipe())
    assert same(dict(begun.backbone.state_dict()), dict(given.backbone.state_dict()))
    assert not same(dict(begun.class_head.state_dict()), dict(given.class_head.state_dict()))
    carry_out(course(store, beginning=beginning), tmp_path / "run")
    found = load_encoder(tmp_path / "run").spec
    assert (found.licence, found.normalisation) == ("of its own", "slice")
    assert "from given, SHA-256" in found.provenance


def test_a_backbone_that_is_gone_on_with_expects_slices_as_the_store_has_them(tmp_path: Path) -> None:
    coronal = write_store(tmp_path / "store", cases=1)
    manifest = json.loads((coronal.folder / MANIFEST).read_text())
    manifest["settings"] |= {"plane": "coronal", "spacing_mm": 2.5}
    (coronal.folder / MANIFEST).write_text(json.dumps(manifest))
    given = replace(spec_of(recipe(), "given"), spacing_mm=(0.4464, 0.4464, 0.0), window_size=(896, 896, 1))
    write_model(tmp_path / "given", pupil(7).backbone.state_dict(), given)
    chosen, coronal = recipe(), SliceStore(coronal.folder)
    for beginning in (Beginning.of(tmp_path / "given", chosen, coronal), Beginning.at_random(chosen, coronal)):
        assert (beginning.spec.orientation, beginning.spec.spacing_mm) == (ORIENTATION["coronal"], (2.5, 2.5, 0.0))
        assert beginning.spec.window_size == (32, 32, 1), "not 896 pixels of 2.5 mm"
    manifest["settings"]["spacing_mm"] = None
    (coronal.folder / MANIFEST).write_text(json.dumps(manifest))
    native = Beginning.of(tmp_path / "given", chosen, SliceStore(coronal.folder)).spec
    assert (native.spacing_mm, native.window_size) == (given.spacing_mm, given.window_size)
    fresh = Beginning.at_random(chosen, SliceStore(coronal.folder)).spec
    assert (fresh.spacing_mm, fresh.window_size) == ((1.5, 1.5, 0.0), (32, 32, 1)), "what the scans have"


def test_a_later_stage_expects_windows_of_its_own_views(store: SliceStore, finished: Path) -> None:
    assert load_encoder(finished).spec.window_size == (32, 32, 1)
    larger = recipe(
        resolutions=(Resolution(global_size=44, local_size=16), Resolution(global_size=40, local_size=16))
    )
    assert Beginning.of(finished, larger, store).spec.window_size == (48, 48, 1), "in whole patches of 8"


@pytest.mark.parametrize(
    "change", [{"window_hu": (-150.0, 250.0)}, {"normalisation": "slice"}, {"mean_std_hu": (3.0, 70.0)}]
)
def test_an_earlier_backbone_that_sees_other_values_holds_no_patches(
    change: dict[str, Any], store: SliceStore, tmp_path: Path
) -> None:
    chosen = recipe(gram=Gram(), loop=replace(recipe().loop, steps=1))
    beginning = Beginning.at_random(chosen, store)
    spec = replace(beginning.spec, normalisation="fixed", mean_std_hu=(30.0, 200.0))
    beginning = replace(beginning, spec=spec)
    write_model(tmp_path / "earlier", pupil(7).backbone.state_dict(), replace(spec, name="earlier", **change))
    with pytest.raises(UsageError, match="sees values"):
        carry_out(course(store, chosen, beginning=beginning, gram=tmp_path / "earlier"), tmp_path / "run")


def test_a_stage_goes_on_from_student_and_teacher_of_the_stage_before(
    store: SliceStore, finished: Path, tmp_path: Path
) -> None:
    chosen = recipe(gram=Gram(), loop=replace(recipe().loop, steps=1))
    beginning = Beginning.of(finished, chosen, store)
    state = RunFolder(finished).checkpoint()
    assert state is not None
    assert same(dict(beginning.pupil(chosen).state_dict()), dict(state["network"]))
    assert not same(dict(state["network"]), dict(state["average"]))
    seen: list[dict[str, torch.Tensor]] = []

    class Watched(Beginning):
        def pupil(self, recipe: PretrainingRecipe) -> object:  # type: ignore[override]
            made = super().pupil(recipe)
            seen.append({name: tensor.clone() for name, tensor in made.state_dict().items()})
            return made

    watched = Watched(**vars(beginning))
    carry_out(course(store, chosen, beginning=watched, gram=finished), tmp_path / "next")
    records = RunFolder(tmp_path / "next").metrics()
    assert any("gram" in record for record in records)
    assert same(seen[0], dict(state["network"]))
    first = next(record for record in records if record.get("event") == "validated")
    last = [record for record in RunFolder(finished).metrics() if record.get("event") == "validated"][-1]
    assert first["rank of patches"] == last["rank of patches"], (
        "the teacher is the one that the stage before ended with"
    )


def test_heads_of_other_sizes_are_refused(finished: Path, store: SliceStore) -> None:
    other = recipe(class_head=HeadSettings(prototypes=HEAD.prototypes + 1, hidden=16, bottleneck=8))
    with pytest.raises(CheckpointError, match="heads of the recipe's sizes"):
        Beginning.of(finished, other, store).pupil(other)


def test_a_model_that_is_no_backbone_is_refused(store: SliceStore) -> None:
    with pytest.raises(CheckpointError, match="a backbone"):
        Beginning.of("vesalius-small", recipe(), store)


def test_one_scan_in_twenty_is_held_out_where_the_recipe_validates(store: SliceStore) -> None:
    split = course(store).split()
    assert list(split.held_out) == [0, 1, 2, 3]
    assert list(split.learnt) == list(range(4, 12))
    without = recipe(loop=replace(recipe().loop, validate_every=None))
    assert list(course(store, without).split().learnt) == list(range(12))


def test_slices_that_were_replaced_after_curation_are_refused(tmp_path: Path) -> None:
    made = write_store(tmp_path / "store")
    pixels = made.shard(1).folder / "pixels.npy"
    np.save(pixels, np.load(pixels) + 1)
    with pytest.raises(FileFormatError, match=r"pixels\.npy of case-1"):
        carry_out(course(made), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_was_found_as_curated_is_read_again_only_where_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = write_store(tmp_path / "store")
    read: list[str] = []
    caplog.set_level("INFO")

    def noting(path: Path) -> str:
        read.append(path.parent.name)
        return sha256_of(path)

    monkeypatch.setattr("vesalius.data.slices.sha256_of", noting)
    carry_out(course(made), tmp_path / "run")
    assert len(set(read)) == len(made.cases)
    read.clear()
    carry_out(course(made), tmp_path / "run")
    assert not read
    changed = made.shard(1).folder / "pixels.npy"
    os.utime(changed, ns=(1, 1))
    carry_out(course(made), tmp_path / "run")
    assert set(read) == {changed.parent.name}
    said = [record.getMessage() for record in caplog.records if "as curated" in record.getMessage()]
    assert [line.split(" (")[0].split("as curated, ")[1] for line in said] == [
        f"{n} of them read now" for n in (3, 0, 1)
    ]
    assert all(line.startswith("3 scans") for line in said)


@pytest.mark.parametrize("end", [KeyboardInterrupt, FileFormatError])
def test_what_was_found_as_curated_before_a_check_ended_early_is_not_read_again(
    end: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_store(tmp_path / "store", cases=4)
    folders = [made.shard(number).folder for number in range(4)]
    bad, pixels = folders[2] / "pixels.npy", np.load(folders[2] / "pixels.npy")
    read: list[str] = []
    stops = end is KeyboardInterrupt

    def noting(path: Path) -> str:
        read.append(path.parent.name)
        if stops and path == bad:
            raise KeyboardInterrupt
        return sha256_of(path)

    monkeypatch.setattr("vesalius.data.slices.sha256_of", noting)
    if not stops:
        np.save(bad, pixels + 1)
    with pytest.raises(end):
        carry_out(course(made), tmp_path / "run")
    assert list(json.loads((made.folder / CHECKED).read_text())) == [folder.name for folder in folders[:2]]
    stops = False
    np.save(bad, pixels)
    read.clear()
    os.utime(folders[0] / "pixels.npy", ns=(1, 1))
    carry_out(course(made), tmp_path / "run")
    assert set(read) == {folders[number].name for number in (0, 2, 3)}, "the second is known, the first has changed"
    read.clear()
    carry_out(course(made), tmp_path / "run")
    assert not read


def test_another_store_in_the_same_run_is_refused(store: SliceStore, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\."):
        carry_out(course(write_store(tmp_path / "other", cases=4)), finished)
