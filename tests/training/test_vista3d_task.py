"""VISTA3D's task: silence is no negative, mirrored scans swap names, clicks follow errors, a network learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vesalius.training.vista3d_task as room
from engine.line_task import same
from training.small_case import CLICK_SPEC, SPEC, balls, case_with, recipe
from vesalius.data.case import UNKNOWN, Case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.errors import UsageError
from vesalius.models.vista3d import Vista3D
from vesalius.precision import best_precision
from vesalius.spec import ModelSpec
from vesalius.training.networks import new_network
from vesalius.training.overlaps import Overlaps
from vesalius.training.prompt_sampling import ClassQuestion
from vesalius.training.recipes import AUTOMATIC, ClickPrompting, VistaRecipe, frozen
from vesalius.training.vista3d_task import PromptedWindow, Vista3DTask, VistaSample, click_terms
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.intensity import scale_hu_

STILL = Augmentation(keep_sharp=1.0, cut=0.0, low_resolution=0.0, noise=0.0, drift=0.0)


class Answers(Vista3D):
    """Answers every question with the logits it was given: features are those, and class vectors pick them."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(SPEC.architecture)
        self.logits = logits

    def mapped_features(self, windows: Tensor) -> Tensor:
        return self.logits[None]

    def class_vectors(self, class_ids: Tensor) -> Tensor:
        return torch.eye(len(class_ids))


def partly_labelled() -> VistaSample:
    """Class 1 was looked for and found, 5 looked for and absent, 2 not looked for; some of it all is unknown."""
    labels = torch.zeros(16, 16, 16, dtype=torch.uint8)
    labels[2:5], labels[8:9], labels[12:] = 1, 3, UNKNOWN
    question = ClassQuestion(torch.tensor([1, 5, 2]), 1, torch.tensor([True, True, False]))
    window = PromptedWindow(torch.zeros(1, 16, 16, 16), labels, question, (), (), 1, 0, "balls")
    return VistaSample((window,))


def drawn(task: Vista3DTask, seed: int | tuple[int, ...]) -> PromptedWindow:
    (window,) = task.draw(np.random.default_rng(seed)).windows
    return window


def question_of(window: PromptedWindow) -> ClassQuestion:
    assert window.question is not None
    return window.question


def gradient_of(sample: VistaSample) -> Tensor:
    task = Vista3DTask([case_with(1, 0)], SPEC, recipe=recipe())
    logits = torch.randn(3, 16, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    terms = task.outcome(Answers(logits), sample).terms
    (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
    return gradient


def test_a_class_nobody_looked_for_is_no_negative_where_nothing_is_labelled() -> None:
    sample = partly_labelled()
    gradient, labels = gradient_of(sample), sample.windows[0].labels
    unlabelled, unknown = labels == 0, labels == UNKNOWN
    assert gradient[2][unlabelled].eq(0).all()
    assert gradient[:, unknown].eq(0).all()
    assert gradient[2][(labels == 1) | (labels == 3)].gt(0).all()  # other structures: not its own
    assert gradient[1][~unknown].gt(0).all()  # looked for and absent: a negative everywhere
    assert gradient[0][labels == 1].lt(0).all()
    assert gradient[0][unlabelled | (labels == 3)].gt(0).all()


@pytest.mark.parametrize("mutation", ["all is known", "unknown is known"])
def test_the_test_above_notices_a_loss_that_takes_silence_for_absence(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = partly_labelled()
    right = room.known

    def wrong(labels: Tensor, question: ClassQuestion, overlaps: Overlaps) -> Tensor:
        if mutation == "all is known":
            return torch.ones(3, *labels.shape, dtype=torch.bool)
        return right(torch.where(labels == UNKNOWN, 0, labels.int()), question, overlaps)

    monkeypatch.setattr(room, "known", wrong)
    gradient = gradient_of(sample)
    labels = sample.windows[0].labels
    silent = (labels == 0) if mutation == "all is known" else (labels == UNKNOWN)
    assert gradient[2 if mutation == "all is known" else 1][silent].ne(0).all()


def test_terms_are_those_of_the_losses_and_recall_fades_with_the_rate() -> None:
    task = Vista3DTask([case_with(1, 0)], SPEC, recipe=recipe(recall=0.4))
    outcome = task.outcome(Answers(torch.zeros(3, 16, 16, 16)), partly_labelled())
    assert outcome.terms.keys() == task.weights(1.0).keys()
    own, known = 3 * 256, 12 * 256
    assert float(outcome.terms["dice"]) == pytest.approx(1 - (own + 1) / (known / 2 + own + 1))
    assert float(outcome.terms["recall"]) == pytest.approx(np.log(2))
    assert float(outcome.terms["cross_entropy"]) == pytest.approx(np.log(2) * (1 + 1 + 4 * 256 / 1024) / 3)
    assert outcome.watched == {"dice of balls": pytest.approx(float(outcome.terms["dice"]))}
    assert [task.weights(rate)["recall"] for rate in (1.0, 0.5)] == pytest.approx([0.4, 0.2])


def test_a_window_is_the_case_s_own_voxels_in_the_spec_s_window_of_intensities() -> None:
    case = case_with(1, 0)
    sample = drawn(Vista3DTask([case], SPEC, recipe=recipe(augmentation=STILL)), 0)
    assert case.image_hu is not None
    whole = scale_hu_(torch.from_numpy(case.image_hu.astype(np.float32)), SPEC.window_hu)
    padded = torch.nn.functional.pad(whole, [8] * 6, value=0.0)  # air is the low end of the window
    views = padded.unfold(0, 16, 1).unfold(1, 16, 1).unfold(2, 16, 1)
    apart = (views - sample.image[0]).abs().amax((3, 4, 5))
    assert float(apart.min()) < 1e-4
    at = [int(n) - 8 for n in np.unravel_index(int(apart.argmin()), apart.shape)]
    labels = np.pad(case.labels, 8)[tuple(slice(a + 8, a + 24) for a in at)]
    assert np.array_equal(sample.labels.numpy(), labels)


def test_the_same_seed_draws_the_same_sample_and_another_another() -> None:
    task = Vista3DTask([case_with(1, 0), case_with(2, 1)], SPEC, recipe=recipe())
    first, again, other = (drawn(task, (0, step, 0)) for step in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(question_of(first).class_ids, question_of(again).class_ids)
    assert not torch.equal(first.image, other.image)


def test_a_mirrored_scan_swaps_the_names_of_left_and_right_also_of_what_was_looked_for() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 4:16, 4:16] = 3  # left, where i is small; the right one was not looked for
    case = Case("sides", "balls", labels.astype(np.int16) * 50, labels, frozenset((3,)))
    swap = {3: 4, 4: 3}

    def samples(part: float) -> list[PromptedWindow]:
        chosen = recipe(mirror={"balls": part}, augmentation=STILL)
        task = Vista3DTask([case], SPEC, recipe=chosen, mirrored=swap)
        return [drawn(task, seed) for seed in range(12)]

    for sample in samples(1.0):
        assert set(sample.labels.unique().tolist()) <= {0, 4}
        question = question_of(sample)
        is_annotated = dict(zip(question.class_ids.tolist(), question.annotated.tolist(), strict=True))
        assert is_annotated[4]
        assert not is_annotated.get(3, False)
        assert torch.equal(sample.labels == 4, (sample.image[0] * 400 - 200) > 100)  # the image is mirrored, too
    for sample in samples(0.0):
        assert set(sample.labels.unique().tolist()) <= {0, 3}


def test_a_map_of_tissues_is_painted_and_its_tissues_are_no_labels() -> None:
    labels = np.full((20, 20, 20), 104, np.uint8)
    labels[4:16], labels[:, :3] = 1, UNKNOWN
    case = Case("map", "balls", None, labels, frozenset((1,)))
    seen: list[set[int]] = []

    def paint(tissues: Tensor, rng: np.random.Generator) -> Tensor:
        seen.append(set(tissues.unique().tolist()))
        return tissues.float() + float(rng.normal())

    task = Vista3DTask([case], SPEC, recipe=recipe(), paint=paint)
    samples = [drawn(task, seed) for seed in range(6)]
    assert set().union(*seen) == {0, 1, 104, UNKNOWN} or set().union(*seen) == {1, 104, UNKNOWN}
    assert set().union(*(set(sample.labels.unique().tolist()) for sample in samples)) == {0, 1, UNKNOWN}


def test_contrast_is_changed_for_the_groups_named_and_before_names_are_swapped() -> None:
    case = case_with(1, 0)

    def brighten(image_hu: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        return torch.where(labels == 1, torch.full_like(image_hu, 190.0), image_hu)

    def brightest(group: str) -> float:
        chosen = recipe(augmentation=STILL, mirror={"balls": 1.0})
        task = Vista3DTask([case], SPEC, recipe=chosen, recontrast={group: brighten}, mirrored={1: 2, 2: 1})
        sample = next(w for w in (drawn(task, n) for n in range(50)) if question_of(w).present)
        return float(sample.image[0][sample.labels == 2].min())

    assert brightest("balls") == pytest.approx(390 / 400)
    assert brightest("others") < 0.9


@pytest.mark.parametrize(
    ("cases", "changes", "message"),
    [
        ([replace(case_with(1, 0), annotated=frozenset((1, 6)))], {}, "vocabulary"),
        ([replace(case_with(1, 0), image_hu=None)], {}, "paint"),
        ([case_with(1, 0)], {"window_size": (16, 16, 15)}, "multiples of 2"),
        ([replace(case_with(1, 0), group="others")], {}, "groups"),
        ([case_with(1, 0)], {"drop_point": 0.5}, "branch"),
        ([case_with(1, 0)], {"drop_label": 0.1}, "branch"),
    ],
    ids=[
        "a class it has no name for",
        "no image",
        "an odd window",
        "a group without a share",
        "clicks",
        "some clicks",
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    cases: list[Case], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Vista3DTask(cases, SPEC, recipe=recipe(**changes))


class CrashError(Exception):
    """Stands for whatever ends a process."""


def crash_and_resume(tmp_path: Path, chosen: VistaRecipe, spec: ModelSpec) -> None:
    """Train whole with two workers, and with one that crashes after three of five steps and goes on."""
    cases = [case_with(1, 0), case_with(2, 1)]
    task = Vista3DTask(cases, spec, recipe=chosen)

    class Crashing(Vista3DTask):
        drawn = 0

        def draw(self, rng: np.random.Generator) -> VistaSample:
            self.drawn += 1
            if self.drawn > 2 * 3:
                raise CrashError
            return super().draw(rng)

    def run(path: Path, task: Vista3DTask, workers: int = 1) -> dict[str, object]:
        learner = Learner(new_network(spec, seed=0), chosen.optimisation)
        with opened(path, {}) as folder:
            train(task, learner, folder, chosen.loop, workers=workers)
        return learner.state_dict()

    whole = run(tmp_path / "whole", task, workers=2)
    with pytest.raises(CrashError):
        run(tmp_path / "crashed", Crashing(cases, spec, recipe=chosen))
    checkpoint = RunFolder(tmp_path / "crashed").checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] == 3
    assert same(run(tmp_path / "crashed", task), whole)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_training_of_the_real_network_ends_bit_for_bit_alike(tmp_path: Path, precision: str) -> None:
    loop = LoopSettings(steps=5, windows=2, precision=precision, save_every_s=0.0)  # type: ignore[arg-type]
    crash_and_resume(tmp_path, recipe(loop=loop), SPEC)


def test_so_does_one_with_clicks_on_its_own_errors(tmp_path: Path) -> None:
    loop = LoopSettings(steps=5, windows=2, save_every_s=0.0)
    mixed = recipe(loop=loop, drop_label=0.4, drop_point=0.3, clicking=ClickPrompting(rounds=3))
    crash_and_resume(tmp_path, mixed, CLICK_SPEC)


def whole_truth_dice(network: Vista3D) -> list[float]:
    """Dice of either ball, pooled over cases the network never saw."""
    pairs: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {1: [], 2: []}
    for seed in range(6, 10):
        image, truth = balls(seed)
        window = scale_hu_(torch.from_numpy(image[4:20, 4:20, 4:20].astype(np.float32)), SPEC.window_hu)
        with torch.no_grad():
            logits = network.class_logits(window[None, None], torch.tensor([1, 2]))[0].numpy()
        for label, found in zip((1, 2), logits > 0, strict=True):
            pairs[label].append((found, truth[4:20, 4:20, 4:20] == label))
    return [
        float(2 * sum((f & m).sum() for f, m in both) / sum(f.sum() + m.sum() for f, m in both))
        for both in pairs.values()
    ]


@pytest.mark.slow
def test_it_learns_each_ball_from_the_half_of_the_cases_that_has_it_drawn(tmp_path: Path) -> None:
    cases = [case_with(1 + seed % 2, seed) for seed in range(6)]
    chosen = recipe(loop=LoopSettings(steps=200, windows=2, precision=best_precision("cpu")))
    learner = Learner(new_network(SPEC, seed=0), chosen.optimisation)
    assert min(whole_truth_dice(learner.average)) < 0.5
    with opened(tmp_path, {}) as run:
        train(Vista3DTask(cases, SPEC, recipe=chosen), learner, run, chosen.loop)
    assert min(whole_truth_dice(learner.average)) > 0.9


def clicked_sample(seed: int = 0, **changes: object) -> VistaSample:
    chosen = recipe(**{"drop_label": 1.0, "drop_point": 0.0, "augmentation": STILL, **changes})
    task = Vista3DTask([case_with(1, 0), case_with(2, 1)], CLICK_SPEC, recipe=chosen)
    return task.draw(np.random.default_rng(seed))


def empty(number: int = 0) -> Case:
    return replace(case_with(1, 0), name=f"empty-{number}", labels=np.zeros((24, 24, 24), np.uint8))


@pytest.mark.parametrize(
    ("drop_label", "drop_point", "kinds"),
    [
        (1.0, 0.0, {(False, True)}),
        (0.0, 1.0, {(True, False)}),
        (0.0, 0.0, {(True, True), (True, False)}),  # where there is nothing to click on
        (0.4, 0.4, {(False, True), (True, False), (True, True)}),
    ],
)
def test_a_window_is_asked_by_name_by_clicks_or_by_both(
    drop_label: float, drop_point: float, kinds: set[tuple[bool, bool]]
) -> None:
    chosen = recipe(drop_label=drop_label, drop_point=drop_point)
    task = Vista3DTask([case_with(1, 0), empty()], CLICK_SPEC, recipe=chosen)
    network = new_network(CLICK_SPEC, seed=0)
    found = set()
    for seed in range(30):
        window = drawn(task, seed)
        found.add((window.question is not None, bool(window.objects)))
    assert found == kinds
    terms = task.outcome(network, task.draw(np.random.default_rng(1))).terms
    assert terms.keys() == task.weights(1.0).keys()
    assert ("dice" in terms) == (drop_label < 1)
    assert ("click dice" in terms) == (drop_label > 0 or drop_point < 1)


def test_means_in_the_log_are_over_the_samples_that_were_asked() -> None:
    """With half of the windows asked by name, the logged Dice is not half of what it is."""
    chosen = recipe(drop_label=0.5, drop_point=0.5, clicking=ClickPrompting(rounds=1))
    task = Vista3DTask([case_with(1, 0), empty()], CLICK_SPEC, recipe=chosen)
    network, kinds = new_network(CLICK_SPEC, seed=0), set()
    for seed in range(16):
        sample = task.draw(np.random.default_rng(seed))
        (window,) = sample.windows
        outcome = task.outcome(network, sample)
        by_name, shows = window.question is not None, bool(window.question and window.question.present)
        kinds.add((by_name, shows, bool(window.objects)))
        asked = {"cross_entropy"} if by_name else set()
        asked |= {"dice", "recall"} if shows else set()
        asked |= {"click dice", "click cross_entropy", "click recall"} if window.objects else set()
        assert outcome.terms.keys() - outcome.unasked == asked
        assert all((float(term.detach()) == 0) == (name in outcome.unasked) for name, term in outcome.terms.items())
    assert kinds >= {(False, False, True), (True, False, False), (True, True, False), (True, True, True)}


def test_windows_of_a_sample_answer_each_for_themselves() -> None:
    """MONAI's sampler refuses more than one window; here the loss of several is the mean of each one's."""
    chosen = recipe(drop_label=0.0, drop_point=0.0, batch=3, loss="vista3d", clicking=ClickPrompting(rounds=2))
    task = Vista3DTask([case_with(1, 0), case_with(2, 1)], CLICK_SPEC, recipe=chosen)
    network = new_network(CLICK_SPEC, seed=0)
    sample = next(
        s
        for s in (task.draw(np.random.default_rng(n)) for n in range(50))
        if all(window.objects for window in s.windows)
    )
    together = task.outcome(network, sample)
    alone = [task.outcome(network, VistaSample((window,))) for window in sample.windows]
    for name, term in together.terms.items():
        mean = torch.stack([one.terms[name] for one in alone]).mean()
        assert float(term.detach()) == pytest.approx(float(mean.detach()), rel=1e-5)
    several = 0
    for name, number in together.watched.items():
        seen = [one.watched[name] for one in alone if name in one.watched]
        assert number == pytest.approx(np.mean(seen), rel=1e-5)
        several += len(set(seen)) > 1
    assert several, "the last window's alone would be another number"


def test_later_rounds_click_on_the_network_s_own_errors_and_only_the_last_is_learnt_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = clicked_sample()
    window = replace(sample.windows[0], rounds=4)
    network = new_network(CLICK_SPEC, seed=0)
    calls: list[tuple[int, bool]] = []
    right = room._point_logits

    def watched(network: Vista3D, image_map: Tensor, clicks: list[object]) -> Tensor:
        calls.append((sum(map(len, clicks)), image_map.requires_grad))  # type: ignore[arg-type]
        return right(network, image_map, clicks)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "_point_logits", watched)
    click_terms(network, network.point_features(window.image[None])[0], window, loss="vesalius")
    counts, learnt = zip(*calls, strict=True)
    assert len(calls) == 4
    assert list(counts) == sorted(set(counts))  # clicks are added in every round
    assert list(learnt) == [False, False, False, True]


def test_a_perfect_answer_ends_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    window = replace(clicked_sample().windows[0], rounds=5)
    masks = torch.from_numpy(np.stack([one.mask for one in window.objects]))
    calls: list[int] = []

    def perfect(network: Vista3D, image_map: Tensor, clicks: list[object]) -> Tensor:
        calls.append(1)
        return torch.where(masks, 30.0, -30.0).requires_grad_()

    monkeypatch.setattr(room, "_point_logits", perfect)
    network = new_network(CLICK_SPEC, seed=0)
    terms = click_terms(network, network.point_features(window.image[None])[0], window, loss="vista3d")
    assert len(calls) == 2
    assert float(terms["dice"].detach()) < 1e-4


def test_novel_classes_are_kept_out_of_labels_and_of_what_was_looked_for() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:10], labels[10:] = 1, 2
    case = Case("both", "balls", labels.astype(np.int16), labels, frozenset((1, 2)))
    chosen = recipe(novel=(2,), drop_label=0.0, drop_point=0.0)
    task = Vista3DTask([case], CLICK_SPEC, recipe=chosen)
    for seed in range(20):
        window = drawn(task, seed)
        question = question_of(window)
        assert 2 not in window.labels
        annotated = question.class_ids[question.annotated].tolist()
        assert 2 not in annotated
        assert {one.target.id for one in window.objects} <= {1}


def test_some_objects_are_asked_for_as_new() -> None:
    windows = [clicked_sample(seed, clicking=ClickPrompting(as_new=0.5)).windows[0] for seed in range(30)]
    states = [one.target.supported for window in windows for one in window.objects]
    assert 5 < sum(states) < len(states) - 5
    certain = [clicked_sample(seed, clicking=ClickPrompting(as_new=0.0)).windows[0] for seed in range(10)]
    assert all(one.target.supported for window in certain for one in window.objects)


def test_lumps_are_painted_and_clicked_on_where_nothing_is_asked_by_name() -> None:
    chosen = recipe(drop_label=0.5, drop_point=0.0, clicking=ClickPrompting(painted=3), augmentation=STILL)
    task = Vista3DTask([empty()], CLICK_SPEC, recipe=chosen)
    windows = [drawn(task, seed) for seed in range(20)]
    assert {window.question is None for window in windows} == {True, False}
    for window in windows:
        assert bool(window.objects) == (window.question is None), "without lumps there is nothing to click on"
        assert not any(one.target.supported for one in window.objects)
        assert all(
            one.mask.any() and len(clicks) for one, clicks in zip(window.objects, window.clicks, strict=True)
        )


def test_cases_with_nothing_to_click_on_are_refused_at_once_when_clicks_are_all_there_is() -> None:
    with pytest.raises(UsageError, match="found"):
        Vista3DTask([empty()], CLICK_SPEC, recipe=recipe(drop_label=1.0, drop_point=0.0))


def test_windows_that_are_only_clicked_on_come_from_the_few_cases_that_have_something() -> None:
    cases = [case_with(1, 0), *(empty(number) for number in range(400))]
    for drop_label in (1.0, 0.5):
        task = Vista3DTask(cases, CLICK_SPEC, recipe=recipe(drop_label=drop_label, drop_point=0.0))
        windows = [drawn(task, seed) for seed in range(20)]
        by_clicks = [window for window in windows if window.question is None]
        assert len(by_clicks) == 20 if drop_label == 1 else 0 < len(by_clicks) < 20
        assert all(window.objects for window in by_clicks)
        by_name = [window for window in windows if window.question is not None]
        assert sum(bool(window.objects) for window in by_name) < 3  # these come from any case, as they did


def test_without_anything_to_click_on_windows_are_asked_by_name() -> None:
    task = Vista3DTask([empty()], CLICK_SPEC, recipe=recipe(drop_label=0.5, drop_point=0.0))
    assert not any(drawn(task, seed).question is None for seed in range(20))


def test_what_only_a_model_found_is_something_to_click_on() -> None:
    found = case_with(1, 0).labels
    by_model = replace(empty(), pseudo_labels=found, annotated=frozenset((5,)))
    chosen = recipe(drop_label=1.0, drop_point=0.0, pseudo_labels=True)
    assert drawn(Vista3DTask([by_model], CLICK_SPEC, recipe=chosen), 0).objects
    for changes in ({"pseudo_labels": False}, {"novel": (1,)}):
        with pytest.raises(UsageError, match="found"):
            Vista3DTask([by_model], CLICK_SPEC, recipe=replace(chosen, **changes))  # type: ignore[arg-type]


CLICKS_ALONE: dict[str, object] = {
    "drop_label": 1.0,
    "drop_point": 0.0,
    "clicking": ClickPrompting(rounds=2),
    "optimisation": Optimisation(learning_rate=0.1, ema_decay=0.9, parts=frozen(*AUTOMATIC)),
}


def test_clicks_teach_the_encoder_and_the_click_branch_and_leave_the_rest_as_it_was(tmp_path: Path) -> None:
    chosen = recipe(loop=LoopSettings(steps=2, precision="fp32"), **CLICKS_ALONE)
    learner = Learner(new_network(CLICK_SPEC, seed=0), chosen.optimisation)
    before = {name: tensor.clone() for name, tensor in learner.average.state_dict().items()}
    with opened(tmp_path, {}) as run:
        train(Vista3DTask([case_with(1, 0)], CLICK_SPEC, recipe=chosen), learner, run, chosen.loop)
    moved = {name for name, tensor in learner.average.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"encoder", "point_decoder", "point_head"}
