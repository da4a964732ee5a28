"""How long a pretraining step takes when crops of one size pass together, against one pass for each crop.

    python benchmarks/pretraining_throughput.py --folder DIR                        ViT-S, 2 + 8 crops, batch 16
    python benchmarks/pretraining_throughput.py --folder DIR --batch 2 --preset toy   a trial

Each side runs in a process of its own, on the same crops and weights, and takes whole steps: teacher, student,
objectives, gradients, optimiser, running average. Both sides say the same: losses and the norm of the gradients are
compared. One pass for each crop is what a loop over views does; heads and losses are the same code.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from sides import machine, peak_gigabytes, print_table, run_side_once, write_result
from vesalius.data.slices import StoredSlice
from vesalius.engine.company import Company
from vesalius.engine.learner import Learner
from vesalius.models.vit import VitTokens
from vesalius.precision import Precision
from vesalius.pretraining import task as task_module
from vesalius.pretraining.recipes import STAGE_1, PretrainingRecipe, for_preset, optimisation_of, spec_of
from vesalius.pretraining.student_teacher import Pupil, StudentSays, TeacherSays
from vesalius.pretraining.task import PretrainingTask, Split
from vesalius.pretraining.views import Views

SIDES = ("together", "one by one")
LARGEST_RATIO = 0.7


class MadeUp:
    """A slice of a made-up body."""

    def __getitem__(self, index: int) -> StoredSlice:
        rng = np.random.default_rng(index)
        y, x = np.mgrid[:320, :320]
        body = np.where((y - 160) ** 2 + (x - 160) ** 2 < 140**2, 40, -1000) + rng.normal(0, 20, (320, 320))
        return StoredSlice(body.astype(np.int16), "made up", "made up", index, (1.0, 1.0), "chest")


def recipe_of(arguments: argparse.Namespace) -> PretrainingRecipe:
    """Return stage 1 of a size, without what is random in the student, so that both sides say the same."""
    recipe = for_preset(STAGE_1, arguments.preset)
    return replace(recipe, batch=arguments.batch, drop_path=0.0, rescale=1.0)


def student_one_by_one(student: Pupil, views: Views) -> StudentSays:
    """Show a student one crop position after another."""
    masks = views.is_masked.unflatten(0, views.global_views.shape[:2])
    whole = [_tokens(student, view, mask) for view, mask in zip(views.global_views, masks, strict=True)]
    parts = [_tokens(student, view) for view in views.local_views]
    hidden = [student.patch_head(one.patches[mask]) for one, mask in zip(whole, masks, strict=True)]
    return StudentSays(
        of_global=torch.stack([student.class_head(one.class_token) for one in whole]),
        of_local=torch.stack([student.class_head(one.class_token) for one in parts]),
        of_hidden=torch.cat(hidden),
        class_tokens=torch.stack([one.class_token for one in whole]),
        patches=rearrange(torch.stack([one.patches for one in whole]), "v b t d -> (v b) t d"),
        grid=whole[0].grid,
    )


@torch.no_grad()
def teacher_one_by_one(teacher: Pupil, views: Views) -> TeacherSays:
    """Show a teacher one global view after another."""
    masks = views.is_masked.unflatten(0, views.global_views.shape[:2])
    whole = [_tokens(teacher, view) for view in views.global_views]
    return TeacherSays(
        of_global=torch.stack([teacher.class_head.mapped(one.class_token) for one in whole]),
        of_hidden=torch.cat(
            [teacher.patch_head.mapped(one.patches[mask]) for one, mask in zip(whole, masks, strict=True)]
        ),
        class_tokens=torch.stack([one.class_token for one in whole]),
    )


def _tokens(pupil: Pupil, images: Tensor, is_masked: Tensor | None = None) -> VitTokens:
    (tokens,) = pupil.backbone(images, is_masked=is_masked)
    return tokens


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take some steps, and say how long each took and what the first said."""
    torch.set_num_threads(arguments.threads)
    if arguments.side == "one by one":
        task_module.ask_student, task_module.ask_teacher = student_one_by_one, teacher_one_by_one
    recipe = recipe_of(arguments)
    spec = spec_of(recipe, "timed")
    split = Split(learnt=range(arguments.batch), held_out=range(2))
    task = PretrainingTask(MadeUp(), split, spec, recipe=recipe)
    torch.manual_seed(0)
    pupil = Pupil(recipe.architecture, class_head=recipe.class_head, patch_head=recipe.patch_head)
    with torch.no_grad():  # as in trained weights, so that all of the network has a say
        for name, parameter in pupil.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.3)
    learner = Learner(pupil, optimisation_of(recipe, recipe.architecture))
    views = task.draw(np.random.default_rng(0))
    seconds, said = [], []
    for _ in range(arguments.steps + 1):  # the first warms up
        began = time.perf_counter()
        said.append(_step(task, learner, views, arguments.precision))
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": seconds[1:],
        "median": statistics.median(seconds[1:]),
        "peak_gb": peak_gigabytes(),
        "first": said[0],
        "last": said[-1],
        "machine": machine(),
    }


def _step(task: PretrainingTask, learner: Learner[Pupil], views: Views, precision: Precision) -> dict[str, float]:
    parameters = list(learner.network.parameters())
    (lesson,) = task.lessons(learner.average, [views], Company(precision=precision), progress=0.5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
        outcome = task.taught_outcome(learner.network, views, lesson)
    weights = task.weights(1.0)
    loss = torch.stack([weights[name] * term for name, term in outcome.terms.items()]).sum()
    norm = learner.learn(torch.autograd.grad(loss, parameters, allow_unused=True), rate=1.0, progress=0.5)
    return {**{name: float(term.detach()) for name, term in outcome.terms.items()}, "norm": norm}


def main() -> int:
    """Run both sides and compare, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path, help="for what each side measured")
    parser.add_argument("--preset", choices=("toy", "small"), default="small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
        return 0
    if arguments.folder is None:
        parser.error("--folder is wanted")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    names = ("preset", "batch", "steps", "precision", "threads")
    words = [word for name in names for word in (f"--{name}", str(getattr(arguments, name)))]
    found = {side: run_side_once(arguments.folder, __file__, side, *words) for side in SIDES}
    together, alone = (found[side] for side in SIDES)
    gaps = {name: abs(together["first"][name] / value - 1) for name, value in alone["first"].items()}
    ratio = together["median"] / alone["median"]
    print_table(
        [["side", "s a step", "peak GB"], *([side, one["median"], one["peak_gb"]] for side, one in found.items())]
    )
    print(f"ratio {ratio:.3f} (at most {LARGEST_RATIO}); largest relative difference {max(gaps.values()):.2g}")
    settings = {name: getattr(arguments, name) for name in names}
    measured = {
        "settings": settings,
        "ratio": ratio,
        "largest_ratio": LARGEST_RATIO,
        "differences": gaps,
        "sides": found,
    }
    write_result("pretraining_throughput", measured)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
